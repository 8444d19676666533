"""What tools/genotype.py does: show, draw, validate, compare, convert and count genotypes."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhoga.analysis.agreement import agreement
from mmhoga.analysis.complexity import count
from mmhoga.analysis.genotype_figure import save_drawing
from mmhoga.analysis.palette import edge_label
from mmhoga.genotype import Genotype, edge_list
from mmhoga.interop.autola_text import read_genotypes
from mmhoga.launch.errors import LaunchError, run
from mmhoga.models.hoga import HOGA

_GENOTYPE = 'a built-in name, or a genotype.json'


def genotype_main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 1 where genotypes compared differ, 2 for bad input."""
    args = _parser().parse_args(argv)
    outcome: list[int] = []

    def main() -> None:
        _import(args.imports)
        try:
            outcome.append(args.run(args) or 0)
        except (ValueError, OSError) as error:
            raise LaunchError(str(error)) from error

    return run(main) or outcome[0]


def show(genotype: Genotype) -> str:
    """A row a node, and where it came from."""
    lines = [str(genotype)]
    for key in ('config', 'seed', 'epoch', 'stage', 'trial', 'sampling_seed'):
        if genotype.meta.get(key) is not None:
            lines.append(f'{key}: {genotype.meta[key]}')
    return '\n'.join(lines)


def compare(genotypes: dict[str, Genotype]) -> tuple[str, bool]:
    """The edges on which they differ, and whether there are any.

    Raises:
        ValueError: fewer than two, or different K.
    """
    found = agreement(list(genotypes.values()))
    differing = [edge for edge in edge_list(next(iter(genotypes.values())).num_groups) if len(found.edges[edge]) > 1]
    width = max(map(len, genotypes))
    lines = [f'{len(found.edges) - len(differing)} of {len(found.edges)} edges agree.']
    for edge in differing:
        lines.append(edge_label(*edge))
        lines += [f'  {name:{width}}  {genotype.operation(*edge)}' for name, genotype in genotypes.items()]
    return '\n'.join(lines), bool(differing)


def count_cell(genotype: Genotype, channels: int, height: int, width: int) -> str:
    """Parameters and multiply-accumulates of one HOGA.

    Raises:
        ValueError: K does not divide the channels.
    """
    cell = count(HOGA(channels, genotype=genotype), (channels, height, width))
    return f'{channels} x {height} x {width}: {cell.params:,} parameters, {cell.macs:,} multiply-accumulates'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Show, draw, validate, compare, convert and count genotypes.')
    parser.add_argument(
        '--import', dest='imports', action='append', default=[], metavar='MODULE', help='that registers own primitives'
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def command(name: str, run: object, many: bool = False, help: str = '') -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        sub.add_argument('genotype', nargs='+' if many else None, help=_GENOTYPE)
        return sub

    command('show', _show, help='print it, with its origin')
    drawing = command('draw', _draw, many=True, help='draw it; several: side by side, differences ringed')
    drawing.add_argument('--out', required=True, help='FILE.svg, FILE.png or FILE.pdf')
    command('validate', _validate, many=True, help='check files; exit code 2 if one is wrong')
    command('compare', _compare, many=True, help='where two or more differ; exit code 1 if they do')
    counting = command('count', _count, help='parameters and multiply-accumulates of one HOGA')
    counting.add_argument('--channels', type=int, required=True, help='C at its position')
    counting.add_argument('--size', type=int, nargs='+', default=[56], help='H and W of the map, or one for both')
    converting = commands.add_parser('convert', help="from the authors' genotypes.py")
    converting.set_defaults(run=_convert)
    converting.add_argument('file', help='Python text with NAME = Genotype(normal=[...]); it is not executed')
    converting.add_argument('--name', help='which, if there are several')
    converting.add_argument('--out', help='FILE.json (default: print it)')
    return parser


def _import(modules: Sequence[str]) -> None:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise LaunchError(f'--import {module}: {error}. Modules are looked for in {here} too.') from error


def _show(args: argparse.Namespace) -> None:
    print(show(Genotype.from_config(args.genotype)))


def _draw(args: argparse.Namespace) -> None:
    genotypes = {name: Genotype.from_config(name) for name in args.genotype}
    one = next(iter(genotypes.values()))
    save_drawing(genotypes if len(genotypes) > 1 else one, args.out, title=f'Genotype {args.genotype[0]}')
    print(args.out)


def _validate(args: argparse.Namespace) -> None:
    for name in args.genotype:
        genotype = Genotype.from_config(name)
        print(f'{name}: valid, K = {genotype.num_groups}')


def _compare(args: argparse.Namespace) -> int:
    text, differ = compare({name: Genotype.from_config(name) for name in args.genotype})
    print(text)
    return int(differ)


def _count(args: argparse.Namespace) -> None:
    if len(args.size) > 2:
        raise LaunchError(f'--size takes the height and the width, not {len(args.size)} numbers.')
    print(count_cell(Genotype.from_config(args.genotype), args.channels, args.size[0], args.size[-1]))


def _convert(args: argparse.Namespace) -> None:
    found = read_genotypes(Path(args.file).read_text(encoding='utf-8'))
    name = args.name or next(iter(found))
    if name not in found or (args.name is None and len(found) > 1):
        raise LaunchError(f'{args.file} holds {", ".join(found)}: say which, with --name.')
    genotype = Genotype(found[name].edges, {'source': f'{Path(args.file).name}: {name}'})
    if args.out:
        genotype.save(args.out)
        print(args.out)
    else:
        print(genotype.to_json(), end='')
