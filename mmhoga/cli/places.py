"""``mmhoga places``: where an attention can be inserted into a network, and what it costs there."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from torch import nn

from mmhoga.cli.costs import three_digits
from mmhoga.cli.insertion_configs import code, insertion
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import format_table, height_and_width, positive
from mmhoga.genotype import BUILTIN, Genotype
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, load_config, one_paragraph
from mmhoga.insertion.patterns import fold
from mmhoga.insertion.places import Place, PlaceError, find_places, input_channels, near_modules
from mmhoga.models import HOGA, Attention, SearchableHOGA
from mmhoga.models.complexity import Complexity, count_parts
from mmhoga.registry import MODELS

LIBRARIES = ('timm', 'torchvision')


def places_main(argv: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'List the modules of a network after (or before) which an attention can be inserted, with the feature map '
        'there and the cost of the attention. Modules that differ only in their number share a row, whose costs are '
        'those of all of them. No data and no weights are needed.',
        r"mmhoga places mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py --match 'backbone\.stage\d' --shape 640",
    )
    network_help = 'a config (its path or name, or mmdet::PATH of a host), timm:NAME or torchvision:NAME'
    parser.add_argument('network', metavar='CONFIG', help=network_help)
    parser.add_argument('--before', action='store_true', help='list the maps before the modules instead of after them')
    match_help = 'only the modules whose whole name matches this regular expression; prints the sum and the config line'
    parser.add_argument('--match', metavar='PATTERN', help=match_help)
    add_cell_arguments(parser)
    shape_help = 'height and width of the image, or one number for both (default: 224)'
    parser.add_argument('--shape', type=positive(int), nargs='+', default=[224], metavar='N', help=shape_help)
    all_help = 'every module in a row of its own, also norms, activations and those where no attention can go, and why'
    parser.add_argument('--all', action='store_true', help=all_help)
    add_config_options(parser)
    return run(lambda: _list(parser.parse_args(argv)), PlaceError)


def add_cell_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--cell`` and ``--genotype``."""
    cell_help = 'hoga, or the name of an attention in timm such as se, cbam, gc, eca (default: hoga)'
    parser.add_argument('--cell', default='hoga', metavar='NAME', help=cell_help)
    genotype_help = f'genotype of hoga: {", ".join(BUILTIN)}, or a .json (default: autola)'
    parser.add_argument('--genotype', metavar='NAME_OR_FILE', help=genotype_help)


def cell_config(args: argparse.Namespace) -> dict[str, Any]:
    """The config of the attention that ``--cell`` and ``--genotype`` name. The genotype of a file is written out."""
    if args.cell != 'hoga':
        if args.genotype:
            raise LaunchError(f'--genotype is for --cell hoga, and not for {args.cell}.')
        try:
            Attention(64, name=args.cell)
        except (ValueError, ImportError) as error:
            raise LaunchError(f'--cell {args.cell}: {error}') from error
        return {'type': 'mmhoga.Attention', 'name': args.cell}
    genotype = args.genotype or 'autola'
    try:
        rows = [list(row) for row in Genotype.from_config(genotype).edges]
    except (ValueError, OSError) as error:
        raise LaunchError(f'--genotype: {error}') from error
    return {'type': 'mmhoga.HOGA', 'genotype': genotype if genotype in BUILTIN else rows}


@dataclass(frozen=True)
class Named:
    """A network by the name that a user gave. ``cfg`` is None for a network of a library."""

    name: str
    network: nn.Module
    cfg: Config | None = None


def read_network(name: str, options: dict[str, Any] | None = None) -> Named:
    """Build the network of a config, of timm or of torchvision, with random weights and without a download.

    Raises:
        LaunchError: there is no such config or network, the library is missing, or the network cannot be built.
    """
    library, _, model = name.partition(':')
    if library not in LIBRARIES or model.startswith(':'):
        cfg = load_config(name, options)
        import_mmpretrain(cfg)
        return Named(name, build_model(cfg), cfg)
    if options:
        raise LaunchError(f'--cfg-options is for configs, and {name} is none.')
    try:
        package = importlib.import_module('timm' if library == 'timm' else 'torchvision.models')
    except ImportError as error:
        raise LaunchError(f'{name} needs {library}, which is not installed: pip install {library}.') from error
    try:
        if library == 'timm':
            return Named(name, package.create_model(model, pretrained=False))
        builder = package.get_model_builder(model)
        wanted = [key for key in ('weights', 'weights_backbone') if key in inspect.signature(builder).parameters]
        return Named(name, builder(**dict.fromkeys(wanted)))
    except Exception as error:
        raise LaunchError(f'{library} cannot build {model!r}: {one_paragraph(error)}') from error


class CellCosts:
    """The parameters and MACs of an attention at a place, or why it cannot be built for the width. Counted once."""

    def __init__(self, cell: Mapping[str, Any]) -> None:
        self._cell = cell
        self._known: dict[tuple[int, int, int], Complexity | str] = {}

    def at(self, place: Place) -> Complexity | str:
        shape = (place.channels, *place.size)
        if shape not in self._known:
            try:
                cell = MODELS.build({**self._cell, 'in_channels': place.channels, 'start': 'identity'})
                self._known[shape] = count_parts(cell, shape)['']
            except (ValueError, ImportError) as error:
                self._known[shape] = str(error)
        return self._known[shape]


def _list(args: argparse.Namespace) -> None:
    size, cell = height_and_width('--shape', args.shape), cell_config(args)
    named = read_network(args.network, args.cfg_options)
    total, note = count_network(named.network, size)
    places = [
        place
        for place in find_places(named.network, before=args.before, image_size=size)
        if not _within_cell(named.network, place.name)
    ]
    if args.match is not None:
        shown = matching(args.match, places, named.network)
    elif args.all:
        shown = places
    else:
        shown = [place for place in places if not place.problem and not _is_minor(named.network, place)]
    costs = CellCosts(cell)
    names = [place.name for place in places]
    rows = [(re.escape(place.name), [place]) for place in shown] if args.all else fold(shown, names)
    table: list[tuple[str, ...]] = [('after' if not args.before else 'before', 'modules', *_HEADER)]
    table += [(pattern, str(len(row)), *_columns(row, costs, total)) for pattern, row in rows]
    if not any(line[-1] for line in table[1:]):
        table = [line[:-1] for line in table]
    print(
        f'{args.network} at {size[0]} x {size[1]}: {type(named.network).__name__}, {_cost(total)}{note}\n'
        f'The attention: {code(cell)}\n\n{format_table(table)}'
    )
    if args.match is None:
        left_out = [place for place in places if place not in shown]
        impossible = sum(bool(place.problem) for place in left_out)
        print()
        if left_out:
            print(
                f'Not listed: {impossible} modules where no attention can go, {len(left_out) - impossible} norms, '
                'activations and the like. --all lists them, with the reason.'
            )
        print("--match 'PATTERN' adds up the modules that you choose, and prints the line for the config.")
    else:
        _print_sum(args, named, names, shown, cell, costs, total)


_HEADER = ('class', 'layout', 'channels', 'map', 'params (M)', '%', 'MACs (G)', '%', '')


def _columns(row: Sequence[Place], costs: CellCosts, total: Complexity) -> tuple[str, ...]:
    place = row[0]
    if place.problem:
        return (place.kind, *['-'] * 7, place.problem)
    cost = costs.at(place)
    where = (place.kind, place.layout, str(place.channels), f'{place.size[0]}x{place.size[1]}')
    if isinstance(cost, str):
        return (*where, *['-'] * 4, _short(cost))
    cost = Complexity(cost.params * len(row), cost.macs * len(row))
    return (*where, *_share(cost.params, total.params, 1e6), *_share(cost.macs, total.macs, 1e9), '')


def _share(part: int, total: int, unit: float) -> tuple[str, str]:
    return three_digits(part / unit), three_digits(100 * part / total) if total else '-'


def _short(problem: str) -> str:
    """Why a width is impossible, in a few words."""
    found = re.search(r'(\d+) does not divide', problem)
    return f'K = {found[1]} does not divide the channels' if found else problem.partition('. ')[0]


def _cost(cost: Complexity) -> str:
    macs = f', {three_digits(cost.macs / 1e9)} G MACs' if cost.macs else ''
    return f'{three_digits(cost.params / 1e6)} M parameters{macs}'


def count_network(network: nn.Module, size: tuple[int, int]) -> tuple[Complexity, str]:
    """The cost of a network for an image of ``size``, with 0 MACs and a note if it cannot be counted."""
    try:
        return count_parts(network, (input_channels(network), *size))[''], ''
    except Exception as error:
        note = f' (its MACs cannot be counted: {one_paragraph(error)[:200]})'
        return Complexity(sum(p.numel() for p in network.parameters()), 0), note


def matching(pattern: str, places: Sequence[Place], network: nn.Module) -> list[Place]:
    """The places whose whole name matches.

    Raises:
        LaunchError: there is none, or ``pattern`` is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise LaunchError(f'{pattern!r} is not a regular expression: {error}.') from error
    matched = [place for place in places if compiled.fullmatch(place.name)]
    if not matched:
        near = near_modules(pattern, [place.name for place in places])
        raise LaunchError(
            f'no module of {type(network).__name__} has a name that matches {pattern!r} as a whole.{near}'
        )
    return matched


def _within_cell(network: nn.Module, name: str) -> bool:
    """Whether a module is a cell that the network has already, or a part of one."""
    parts = name.split('.')
    above = [network.get_submodule('.'.join(parts[: end + 1])) for end in range(len(parts))]
    return any(isinstance(module, (HOGA, SearchableHOGA, Attention)) for module in above)


def _is_minor(network: nn.Module, place: Place) -> bool:
    """Whether the map is that of the module before it, normalised, activated, resized or unchanged."""
    module = network.get_submodule(place.name)
    is_leaf = next(module.children(), None) is None
    return is_leaf and ('Norm' in place.kind or next(module.parameters(), None) is None)


def _print_sum(
    args: argparse.Namespace,
    named: Named,
    names: Sequence[str],
    chosen: Sequence[Place],
    cell: Mapping[str, Any],
    costs: CellCosts,
    total: Complexity,
) -> None:
    """The sum of the chosen places, and the line to paste."""
    possible = {place.name: costs.at(place) for place in chosen if not place.problem}
    found = [cost for cost in possible.values() if isinstance(cost, Complexity)]
    added = Complexity(sum(cost.params for cost in found), sum(cost.macs for cost in found))
    params, macs = _share(added.params, total.params, 1e6)[1], _share(added.macs, total.macs, 1e9)[1]
    share = f' ({params} %' + (f' and {macs} %)' if total.macs else ')')
    print(f'\n{len(found)} of {len(chosen)} modules take the attention: {_cost(added)}{share if found else ""}')
    if len(possible) < len(chosen) or not found:
        print('mmhoga.Insert refuses this pattern. Choose one that matches only modules that take the attention.')
        return
    settings = {'before' if args.before else 'after': args.match}
    if len(found) < len(chosen):
        settings['skip_indivisible'] = True
    if named.cfg is not None:
        print(f'\n{insertion(named.cfg, args.match, names, {"cell": dict(cell), **settings}).line}')
    else:
        library, _, model = args.network.partition(':')
        built = f'timm.create_model({model!r}' if library == 'timm' else f'torchvision.models.get_model({model!r}'
        weights = ', pretrained=True)' if library == 'timm' else ", weights='DEFAULT')"
        options = ', '.join(f'{key}={code(value)}' for key, value in settings.items())
        print(f'\nnetwork = {built}{weights}\nmmhoga.insert(network, {code(cell)}, {options})')
