"""``mmhoga flops`` and ``mmhoga latency``: what a model costs, and each candidate of a search on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import Config
from torch import nn

from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import format_table, height_and_width, output_file, positive, require_device
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, load_config, one_paragraph
from mmhoga.insertion.places import input_channels
from mmhoga.models.complexity import Complexity, count_parts
from mmhoga.report.environment import describe_environment
from mmhoga.search.costs import OnMaps, bare_cell, cell_key, cell_shapes
from mmhoga.search.latency import Key, measure, write_latencies
from mmhoga.search.model import SearchModel


def flops_main(argv: Sequence[str] | None = None) -> int:
    """Print parameters and multiply-accumulates. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        "Count the parameters and multiply-accumulates (MACs) of a config's model. No data is needed.",
        'mmhoga flops hoga-resnet50_8xb32_in1k --shape 224',
    )
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    shape_help = 'height and width of the input, or one number for both (default: 224)'
    parser.add_argument('--shape', type=positive(int), nargs='+', default=[224], metavar='N', help=shape_help)
    add_config_options(parser)
    return run(lambda: _print_table(parser.parse_args(argv)))


def _print_table(args: argparse.Namespace) -> None:
    height, width = height_and_width('--shape', args.shape)
    model, counted = count_config(load_config(args.config, args.cfg_options), (height, width))
    inner = getattr(model, 'architecture', None)  # a search model has its network here
    prefix, network = ('architecture.', inner) if isinstance(inner, nn.Module) else ('', model)
    rows = [('', 'params (M)', 'MACs (G)')]
    for name in [*(prefix + child for child, _ in network.named_children()), '']:
        part = counted.get(name)
        if part is not None and (part.params or part.macs):
            rows.append((name or 'total', three_digits(part.params / 1e6), three_digits(part.macs / 1e9)))
    print(f'{args.config} at {height} x {width}\n{format_table(rows)}')


def count_config(cfg: Config, size: tuple[int, int]) -> tuple[nn.Module, dict[str, Complexity]]:
    """Build a config's model and count it and each of its modules for one image of ``size`` (height, width).

    Raises:
        LaunchError: the model cannot be built, or does not run on such an image.
    """
    import_mmpretrain(cfg)
    model = build_model(cfg)
    shape = (input_channels(model), *size)
    try:
        return model, count_parts(model, shape)
    except Exception as error:
        raise LaunchError(
            f'the model of {cfg.filename} does not run on an image of shape {shape}: {one_paragraph(error)}'
        ) from error


def three_digits(number: float) -> str:
    """Two decimals, as in papers; below 1, three significant digits."""
    return f'{number:.2f}' if number >= 1 or number == 0 else f'{number:.3g}'


def latency_main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the table. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Measure the latency of every candidate operation of a search on this machine. The search reads the table '
        "with cost=dict(metric='latency', table=...).",
        'mmhoga latency hoga-search_resnet20_1xb128-100e_cifar10 --input-shape 3 32 32 --out latency.json',
    )
    parser.add_argument('config', help='config of the search: a path, or the name of one that comes with mmhoga')
    out_help = '(default: %(default)s)'
    parser.add_argument('--out', type=output_file(), default='latency.json', metavar='FILE', help=out_help)
    shape_help = "shape of an image (default: the input_shape of the config's cost)"
    parser.add_argument('--input-shape', type=positive(int), nargs=3, metavar=('C', 'H', 'W'), help=shape_help)
    parser.add_argument('--batch-size', type=positive(int), default=1, metavar='N', help='(default: %(default)s)')
    default_device = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=default_device, help='(default: cuda if available, else cpu)')
    parser.add_argument('--seconds', type=positive(float), default=0.2, help='per operation (default: %(default)s)')
    add_config_options(parser)
    return run(lambda: _measure(parser.parse_args(argv)))


def _measure(args: argparse.Namespace) -> None:
    require_device(args.device)
    cfg = load_config(args.config, args.cfg_options)
    import_mmpretrain(cfg)
    cost = (cfg.get('model') or {}).pop('cost', None) or {}  # its table may not exist yet
    shape = args.input_shape or cost.get('input_shape')
    if shape is None:
        raise LaunchError(f'{args.config} sets no cost.input_shape: add --input-shape C H W.')
    model = build_model(cfg)
    if not isinstance(model, SearchModel):
        raise LaunchError(f'{args.config} is not a search: its model is {type(model).__name__}, not SearchModel.')
    try:
        modules = dict(candidates(model, shape))
    except (RuntimeError, ValueError) as error:
        raise LaunchError(f'--input-shape {" ".join(map(str, shape))} does not fit: {one_paragraph(error)}') from error
    entries = measure(modules.items(), batch_size=args.batch_size, device=args.device, seconds=args.seconds)
    write_latencies(args.out, entries, {'device': args.device, 'batch_size': args.batch_size, **describe_environment()})
    for (name, channels, height, width), milliseconds in entries.items():
        print(f'{name:16} {channels:4} x {height} x {width}  {milliseconds:8.4f} ms')
    print(f'{args.out}: {len(modules)} entries, on {args.device}')


def candidates(model: SearchModel, input_shape: Sequence[int]) -> Iterator[tuple[Key, nn.Module]]:
    """Every candidate of a search that takes time, once per size of its feature maps.

    Also each cell without its edges, if the search chooses the blocks that have one.
    """
    cells = model.named_cells()
    shapes = cell_shapes(model.architecture, cells, input_shape)
    for name, cell in cells.items():
        _, height, width = shapes[name]
        if model.placement is not None:
            yield cell_key(cell, shapes[name]), bare_cell(cell)
        for primitive in cell.primitives:
            if primitive not in ('none', 'skip_connect'):
                key = (primitive, cell.group_channels, height, width)
                yield key, OnMaps(primitive, cell.group_channels, cell.operation_reduction)
