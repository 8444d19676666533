"""Draw a genotype: its groups, nodes, edges labelled by operation."""

import argparse
import sys

from mmhoga.analysis.genotype_figure import save_drawing
from mmhoga.genotype import Genotype


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('genotype', help='a built-in name, or a genotype.json')
    parser.add_argument('--out', required=True, help='FILE.svg, FILE.png or FILE.pdf')
    args = parser.parse_args()
    try:
        genotype = Genotype.from_config(args.genotype)
        save_drawing(genotype, args.out, title=f'Genotype {args.genotype}')
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
