"""What tools/genotype.py does: show, draw, validate, compare, convert and count genotypes."""

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

from mmhoga.cli.run.arguments import genotype_parser
from mmhoga.cli.run.errors import run
from mmhoga.figures.genotype_figure import check_drawing_path, differing_edges, save_drawing
from mmhoga.files import near_names, write_atomic
from mmhoga.genotype import BUILTIN, Genotype, edge_list, edge_name
from mmhoga.hosts import LaunchError
from mmhoga.interop.genotype_text import read_genotypes
from mmhoga.models import HOGA
from mmhoga.models.complexity import count_parts


def genotype_main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 for bad input."""
    args = genotype_parser().parse_args(argv)

    def main() -> None:
        _import(args.imports)
        _COMMANDS[args.command](args)

    return run(main)


def read(value: str) -> Genotype:
    """A genotype by name or path.

    Raises:
        LaunchError: it cannot be read; with near names for a file that is not there.
    """
    try:
        return Genotype.from_config(value)
    except FileNotFoundError as error:
        raise LaunchError(f'there is no genotype {value}.{near_names(Path(value))}') from error
    except (ValueError, OSError) as error:
        raise LaunchError(str(error)) from error


def description(genotype: Genotype) -> str:
    """The edges, how often each operation stands there, and where the genotype came from."""
    operations = Counter(name for row in genotype.edges for name in row)
    counts = ', '.join(f'{count} x {name}' for name, count in operations.most_common())
    origin = ', '.join(
        f'{key} {_brief(value)}' for key, value in genotype.meta.items() if not isinstance(value, (list, tuple))
    )
    lines = [str(genotype), f'K = {genotype.num_groups}, {sum(operations.values())} edges: {counts}']
    return '\n'.join([*lines, f'from: {origin}'] if origin else lines)


def comparison(genotypes: dict[str, Genotype]) -> str:
    """A row for each edge, a column for each genotype; a star where they differ, and how many agree.

    Raises:
        LaunchError: they differ in K.
    """
    sizes = {name: genotype.num_groups for name, genotype in genotypes.items()}
    if len(set(sizes.values())) > 1:
        found = ', '.join(f'{name} has K = {size}' for name, size in sizes.items())
        raise LaunchError(f'genotypes with the same K can be compared; {found}.')
    edges = edge_list(next(iter(sizes.values())))
    rows, same = [('edge', '', *genotypes)], 0
    for j, k in edges:
        names = [genotype.operation(j, k) for genotype in genotypes.values()]
        agree = len(set(names)) == 1
        same += agree
        rows.append((edge_name(j, k), '' if agree else '*', *names))
    return f'{_table(rows)}\n{same} of {len(edges)} edges agree.'


def edge_table(genotypes: Mapping[str, Genotype]) -> str:
    """As CSV: a line an edge, a column a genotype (empty where it has no such edge), and whether they differ."""
    differing = differing_edges(list(genotypes.values()))
    content = io.StringIO()
    writer = csv.writer(content, lineterminator='\n')
    writer.writerow(['edge', *genotypes, 'differ'])
    for j, k in edge_list(max(genotype.num_groups for genotype in genotypes.values())):
        operations = [g.operation(j, k) if k < g.num_groups else '' for g in genotypes.values()]
        writer.writerow([edge_name(j, k), *operations, 'yes' if (j, k) in differing else 'no'])
    return content.getvalue()


def cost_table(genotype: Genotype, channels: int, size: tuple[int, int]) -> str:
    """Parameters and multiply-accumulates of one cell, by edge, and of what every cell has beside its edges.

    Raises:
        LaunchError: K does not divide ``channels``.
    """
    try:
        cell = HOGA(channels, genotype=genotype)
    except ValueError as error:
        raise LaunchError(str(error)) from error
    counted = count_parts(cell, (channels, *size))
    rows: list[tuple[str, ...]] = [('', '', 'params', 'MACs')]
    for j, k in edge_list(genotype.num_groups):
        part = counted[f'edges.{edge_name(j, k)}']
        rows.append((edge_name(j, k), genotype.operation(j, k), f'{part.params:,}', f'{part.macs:,}'))
    for name in ('summary_attention', 'phi', 'output_attention', ''):
        rows.append((name or 'total', '', f'{counted[name].params:,}', f'{counted[name].macs:,}'))
    return f'{channels} channels, {size[0]} x {size[1]}\n{_table(rows)}'


def _import(modules: Sequence[str]) -> None:
    """What registers a user's own primitives, from wherever the command is typed."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise LaunchError(f'--import {module}: {error}. Modules are looked for in {here} too.') from error


def _show(args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps([read(value).to_dict() for value in args.genotype], indent=2))
    else:
        print('\n\n'.join(f'{value}\n{description(read(value))}' for value in args.genotype))


def _draw(args: argparse.Namespace) -> None:
    genotypes = {value: read(value) for value in args.genotype}
    drawn = genotypes if len(genotypes) > 1 else genotypes[args.genotype[0]]
    path = Path(args.out)
    table = path.with_suffix('.csv')
    try:
        check_drawing_path(path)
        write_atomic(table, edge_table(genotypes))
        save_drawing(drawn, path, title=f'Genotype {args.genotype[0]}')
    except (ValueError, OSError) as error:
        raise LaunchError(str(error)) from error
    print(f'{table}\n{path}')


def _validate(args: argparse.Namespace) -> None:
    mistakes = []
    for value in args.genotype:
        try:
            print(f'{value}: good, K = {read(value).num_groups}')
        except LaunchError as error:
            mistakes.append(f'{value}: {error}')
    if mistakes:
        raise LaunchError('\n'.join(mistakes))


def _compare(args: argparse.Namespace) -> None:
    if len(args.genotype) < 2:
        raise LaunchError('it takes two genotypes or more to compare.')
    print(comparison({value: read(value) for value in args.genotype}))


def _convert(args: argparse.Namespace) -> None:
    source = Path(args.text)
    if not source.is_file():
        raise LaunchError(f'there is no file {source}.{near_names(source)}')
    try:
        found = read_genotypes(source.read_text(encoding='utf-8'))
    except ValueError as error:  # UnicodeDecodeError is one
        raise LaunchError(f'{source}: {error}') from error
    name = args.name or list(found)[-1]
    if name not in found:
        raise LaunchError(f'{source} has no genotype {name!r}; it has {", ".join(found)}.')
    genotype = Genotype(found[name].edges, {'source': source.name, 'name': name})
    if args.out is None:
        print(genotype.to_json(), end='')
        return
    if Path(args.out).suffix != '.json':
        raise LaunchError(f'a genotype is saved as JSON: {args.out} must end in .json.')
    try:
        genotype.save(args.out)
    except OSError as error:
        raise LaunchError(f'{args.out} cannot be written: {error.strerror}.') from error
    known = next((builtin for builtin, value in BUILTIN.items() if value == genotype), None)
    print(f'{name} -> {args.out}' + (f' (the built-in {known!r})' if known else ''))


def _count(args: argparse.Namespace) -> None:
    if min(args.channels, *args.size) < 1 or len(args.size) > 2:
        raise LaunchError('--channels takes one positive number, --size one or two (height and width).')
    print(cost_table(read(args.genotype), args.channels, (args.size[0], args.size[-1])))


_COMMANDS = {
    'show': _show,
    'draw': _draw,
    'validate': _validate,
    'compare': _compare,
    'convert': _convert,
    'count': _count,
}


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of one width; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    numeric = [all(cell.replace(',', '').isdigit() for cell in column[1:]) for column in zip(*rows)]
    lines = (
        '  '.join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric))
        for row in rows
    )
    return '\n'.join(line.rstrip() for line in lines)


def _brief(value: object) -> str:
    if isinstance(value, dict):
        return '(' + ', '.join(f'{key} {item}' for key, item in value.items()) + ')'
    return str(value)
