"""Draw a genotype: its groups, nodes, edges labelled by operation. Two or more: side by side, differences ringed."""

import argparse
import sys

from mmhoga.analysis.genotype_figure import save_drawing
from mmhoga.genotype import Genotype


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('genotype', nargs='+', help='a built-in name, or a genotype.json; several are compared')
    parser.add_argument('--out', required=True, help='FILE.svg, FILE.png or FILE.pdf')
    args = parser.parse_args()
    try:
        genotypes = {name: Genotype.from_config(name) for name in args.genotype}
        title = f'Genotype {args.genotype[0]}'
        save_drawing(genotypes if len(genotypes) > 1 else genotypes[args.genotype[0]], args.out, title=title)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
