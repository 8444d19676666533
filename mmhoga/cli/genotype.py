"""``mmhoga genotype``: show, draw, validate, compare, count or convert genotypes."""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from mmhoga.cli.run.arguments import command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import format_table, height_and_width, output_file, positive, printable
from mmhoga.files import near_names, write_atomic
from mmhoga.genotype import BUILTIN, Genotype, edge_list, edge_name
from mmhoga.hosts import LaunchError, one_paragraph
from mmhoga.interop.autola import read_genotypes
from mmhoga.models import HOGA
from mmhoga.models.complexity import count_parts


def genotype_main(argv: Sequence[str] | None = None) -> int:
    """Run one of the subcommands. Returns the exit code: 2 for bad input."""
    args = _parser().parse_args(argv)

    def main() -> None:
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)
        for module in args.imports:
            try:
                importlib.import_module(module)
            except Exception as error:
                raise LaunchError(
                    f'--import {module}: {one_paragraph(error)}. Modules are searched for in {here} and on '
                    "Python's path."
                ) from error
        args.function(args)

    return run(main, ValueError, OSError)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        'Show, draw, validate, compare, count or convert genotypes.', 'mmhoga genotype draw autola --out autola.svg'
    )
    import_help = 'import a module that registers your own primitives; goes before COMMAND'
    parser.add_argument('--import', dest='imports', action='append', default=[], metavar='MODULE', help=import_help)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def add(function: Callable[[argparse.Namespace], None], purpose: str, example: str) -> argparse.ArgumentParser:
        name = function.__name__.lstrip('_')
        epilog = f'example:  mmhoga genotype {name} {example}'
        command = commands.add_parser(name, help=purpose, description=f'{purpose.capitalize()}.', epilog=epilog)
        command.set_defaults(function=function)
        if function is not _convert:
            nargs = None if function is _count else '+'
            command.add_argument('genotype', nargs=nargs, help='a built-in name, or a genotype.json')
        return command

    show = add(_show, 'print the edges of genotypes and where they came from', 'autola')
    show.add_argument('--json', action='store_true', help='print JSON')
    draw = add(_draw, 'draw genotypes side by side, with differences ringed', 'autola genotype.json --out both.svg')
    out_help = '.svg, .png or .pdf; a table of the edges is written beside it as .csv'
    draw.add_argument('--out', type=output_file('.svg', '.png', '.pdf'), required=True, metavar='FILE', help=out_help)
    add(_validate, 'check genotypes; exit code 2 if one is wrong', 'genotype.json')
    add(_compare, 'print genotypes edge by edge and count the edges that agree', 'autola genotype.json')
    count = add(_count, 'count parameters and multiply-accumulates of a cell', 'autola --channels 64 --size 56')
    count.add_argument('--channels', type=positive(int), required=True, metavar='N', help='input channels of the cell')
    size_help = 'height and width of the feature map, or one number for both'
    count.add_argument('--size', type=positive(int), nargs='+', required=True, metavar='N', help=size_help)
    convert = add(_convert, "convert a genotype of the authors' code", 'genotypes.py --name AutoLA --out autola.json')
    convert.add_argument('text', help="the authors' genotypes.py, or a log of their search; it is not executed")
    convert.add_argument('--name', help='name of the genotype in the file (default: the last one)')
    convert.add_argument('--out', type=output_file('.json'), metavar='FILE.json', help='(default: print)')
    return parser


def _read(value: str) -> Genotype:
    try:
        return Genotype.from_config(value)
    except FileNotFoundError as error:
        raise LaunchError(f'there is no genotype {value}.{near_names(Path(value))}') from error


def _show(args: argparse.Namespace) -> None:
    genotypes = [(value, _read(value)) for value in args.genotype]
    if args.json:
        print(json.dumps([genotype.to_dict() for _, genotype in genotypes], indent=2))
    else:
        print('\n\n'.join(f'{value}\n{_description(genotype)}' for value, genotype in genotypes))


def _description(genotype: Genotype) -> str:
    """The edges, the number of edges with each operation, and the origin of the genotype."""
    operations = Counter(name for row in genotype.edges for name in row)
    counts = ', '.join(f'{count} x {name}' for name, count in operations.most_common())
    text = f'{genotype}\nK = {genotype.num_groups}, {sum(operations.values())} edges: {counts}'
    origin = []
    for key, value in genotype.meta.items():
        if isinstance(value, dict):
            value = f'({", ".join(f"{name} {item}" for name, item in value.items())})'
        if not isinstance(value, (list, tuple)):  # lists are alpha and other arrays
            origin.append(printable(f'{key} {value}'))
    return f'{text}\nfrom: {", ".join(origin)}' if origin else text


def _edge_rows(genotypes: Mapping[str, Genotype]) -> list[tuple[str, bool, list[str]]]:
    """For each edge its name, whether the genotypes agree, and its operation in each genotype ('' without the edge)."""
    rows = []
    for j, k in edge_list(max(genotype.num_groups for genotype in genotypes.values())):
        operations = [g.operation(j, k) if k < g.num_groups else '' for g in genotypes.values()]
        rows.append((edge_name(j, k), len(set(operations)) == 1, operations))
    return rows


def _draw(args: argparse.Namespace) -> None:
    from mmhoga.figures.genotype_figure import save_drawing  # imports matplotlib, which the other commands do not need

    genotypes = {value: _read(value) for value in args.genotype}
    content = io.StringIO()
    writer = csv.writer(content, lineterminator='\n')
    writer.writerow(['edge', *genotypes, 'differ'])
    writer.writerows([edge, *names, 'no' if agree else 'yes'] for edge, agree, names in _edge_rows(genotypes))
    table = args.out.with_suffix('.csv')
    write_atomic(table, content.getvalue())
    first = args.genotype[0]
    save_drawing(genotypes if len(genotypes) > 1 else genotypes[first], args.out, title=f'Genotype {first}')
    print(f'{table}\n{args.out}')


def _validate(args: argparse.Namespace) -> None:
    mistakes = []
    for value in args.genotype:
        try:
            print(f'{value}: good, K = {_read(value).num_groups}')
        except (LaunchError, ValueError, OSError) as error:
            mistakes.append(str(error))
    if mistakes:
        raise LaunchError('\n'.join(mistakes))


def _compare(args: argparse.Namespace) -> None:
    genotypes = {value: _read(value) for value in args.genotype}
    if len(args.genotype) < 2:
        raise LaunchError('compare takes two or more genotypes.')
    if len({genotype.num_groups for genotype in genotypes.values()}) > 1:
        sizes = ', '.join(f'{name} has K = {genotype.num_groups}' for name, genotype in genotypes.items())
        raise LaunchError(f'only genotypes with the same K can be compared: {sizes}.')
    rows = _edge_rows(genotypes)
    marked = [(edge, '' if agree else '*', *operations) for edge, agree, operations in rows]
    print(format_table([('edge', '', *genotypes), *marked]))
    print(f'{sum(agree for _, agree, _ in rows)} of {len(rows)} edges agree.')


def _count(args: argparse.Namespace) -> None:
    """Print the parameters and MACs of each edge of one cell, and of the parts that every cell has."""
    genotype = _read(args.genotype)
    height, width = height_and_width('--size', args.size)
    counted = count_parts(HOGA(args.channels, genotype=genotype), (args.channels, height, width))
    names = [('edges.', edge_name(j, k), genotype.operation(j, k)) for j, k in edge_list(genotype.num_groups)]
    names += [('', part, '') for part in ('summary_attention', 'phi', 'output_attention', '')]
    rows: list[tuple[str, ...]] = [('', '', 'params', 'MACs')]
    for prefix, name, operation in names:
        cost = counted[prefix + name]
        rows.append((name or 'total', operation, f'{cost.params:,}', f'{cost.macs:,}'))
    print(f'{args.channels} channels, {height} x {width}\n{format_table(rows)}')


def _convert(args: argparse.Namespace) -> None:
    source = Path(args.text)
    if not source.is_file():
        raise LaunchError(f'there is no file {source}.{near_names(source)}')
    try:
        genotypes = read_genotypes(source.read_text(encoding='utf-8'))
    except ValueError as error:  # UnicodeDecodeError is one
        raise LaunchError(f'{source}: {error}') from error
    name = args.name or list(genotypes)[-1]
    if name not in genotypes:
        raise LaunchError(f'{source} has no genotype {name!r}. It has {", ".join(genotypes)}.')
    genotype = Genotype(genotypes[name].edges, {'source': source.name, 'name': name})
    if args.out is None:
        print(genotype.to_json(), end='')
        return
    genotype.save(args.out)
    builtin = next((builtin for builtin, value in BUILTIN.items() if value == genotype), None)
    print(f'{name} -> {args.out}' + (f' (the built-in {builtin!r})' if builtin else ''))
