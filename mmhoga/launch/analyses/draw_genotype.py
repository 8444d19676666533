"""Draw a genotype: its groups, nodes, edges labelled by operation. Two or more: side by side, differences ringed."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmhoga.analysis.genotype_drawing import differing_edges
from mmhoga.analysis.genotype_figure import check_drawing_path, save_drawing
from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype, edge_list
from mmhoga.launch.analyses.arguments import EPILOG, call


def draw_genotype_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG)
    parser.add_argument('genotype', nargs='+', help='a built-in name, or a genotype.json; several are compared')
    parser.add_argument(
        '--out', required=True, metavar='FILE', help='FILE.svg, .png or .pdf; the edges as a table go beside it, .csv'
    )
    return call(_run, parser.parse_args(argv), check_drawing_path)


def _run(args: argparse.Namespace) -> list[Path]:
    genotypes = {name: Genotype.from_config(name) for name in args.genotype}
    path = Path(args.out)
    table = path.with_suffix('.csv')
    write_atomic(table, edge_table(genotypes))
    title = f'Genotype {args.genotype[0]}'
    save_drawing(genotypes if len(genotypes) > 1 else genotypes[args.genotype[0]], path, title=title)
    return [table, path]


def edge_table(genotypes: Mapping[str, Genotype]) -> str:
    """As CSV: a line an edge, a column a genotype (empty where it has no such edge), and whether they differ."""
    differing = differing_edges(list(genotypes.values()))
    content = io.StringIO()
    writer = csv.writer(content, lineterminator='\n')
    writer.writerow(['edge', *genotypes, 'differ'])
    most = max(genotype.num_groups for genotype in genotypes.values())
    for source, target in edge_list(most):
        operations = [
            genotype.operation(source, target) if target < genotype.num_groups else ''
            for genotype in genotypes.values()
        ]
        writer.writerow([f'o_{source}_{target}', *operations, 'yes' if (source, target) in differing else 'no'])
    return content.getvalue()
