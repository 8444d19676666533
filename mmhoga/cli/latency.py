"""``mmhoga latency``: measure every candidate of a search on the sizes of its cells, for a cost-aware search."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmhoga.cli.numbers import positive
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, load_config, one_paragraph
from mmhoga.report.environment import describe_environment
from mmhoga.search.costs import Key, OnMaps, cell_shapes, measure, write_latencies
from mmhoga.search.model import SearchModel


def latency_main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the table. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Measure the latency of every candidate operation of a search on this machine. The search reads the table '
        "with cost=dict(metric='latency', table=...).",
        'mmhoga latency hoga-search_resnet20_1xb128-100e_cifar10 --input-shape 3 32 32 --out latency.json',
    )
    parser.add_argument('config', help='config of the search: a path, or the name of one that comes with mmhoga')
    parser.add_argument('--out', type=Path, default='latency.json', metavar='FILE', help='(default: %(default)s)')
    shape_help = "shape of an image (default: the input_shape of the config's cost)"
    parser.add_argument('--input-shape', type=positive(int), nargs=3, metavar=('C', 'H', 'W'), help=shape_help)
    parser.add_argument('--batch-size', type=positive(int), default=1, metavar='N', help='(default: %(default)s)')
    parser.add_argument('--device', help='(default: cuda if available, else cpu)')
    parser.add_argument('--seconds', type=positive(float), default=0.2, help='per operation (default: %(default)s)')
    add_config_options(parser)
    args = parser.parse_args(argv)
    return run(lambda: measure_table(args))


def measure_table(args: argparse.Namespace) -> None:
    """Measure, write the table and print it.

    Raises:
        LaunchError: no such device or folder, a config that is not a search, or a shape that does not fit it.
    """
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise LaunchError(f'--device {device} is not available: {one_paragraph(error)}') from error
    if not args.out.parent.is_dir():
        raise LaunchError(f'--out {args.out}: there is no folder {args.out.parent}.')
    model, shape = _search_model(args)
    try:
        modules = dict(candidates(model, shape))
    except (RuntimeError, ValueError) as error:
        raise LaunchError(f'--input-shape {" ".join(map(str, shape))} does not fit: {one_paragraph(error)}') from error
    entries = measure(modules.items(), batch_size=args.batch_size, device=device, seconds=args.seconds)
    write_latencies(args.out, entries, {'device': device, 'batch_size': args.batch_size, **describe_environment()})
    for (name, channels, height, width), milliseconds in entries.items():
        print(f'{name:16} {channels:4} x {height} x {width}  {milliseconds:8.4f} ms')
    print(f'{args.out}: {len(modules)} entries, on {device}')


def candidates(model: SearchModel, input_shape: Sequence[int]) -> Iterator[tuple[Key, nn.Module]]:
    """Every candidate of a search that takes time, once per size of its feature maps."""
    cells = model.named_cells()
    shapes = cell_shapes(model.architecture, cells, input_shape)
    for name, cell in cells.items():
        _, height, width = shapes[name]
        for primitive in cell.primitives:
            if primitive not in ('none', 'skip_connect'):
                key = (primitive, cell.group_channels, height, width)
                yield key, OnMaps(primitive, cell.group_channels, cell.operation_reduction)


def _search_model(args: argparse.Namespace) -> tuple[SearchModel, Sequence[int]]:
    cfg = load_config(args.config, args.cfg_options)
    import_mmpretrain(cfg)
    cost: dict[str, Any] = (cfg.get('model') or {}).pop('cost', None) or {}  # its table may not exist yet
    shape = args.input_shape or cost.get('input_shape')
    if shape is None:
        raise LaunchError(f'{args.config} sets no cost.input_shape: add --input-shape C H W.')
    model = build_model(cfg)
    if not isinstance(model, SearchModel):
        raise LaunchError(f'{args.config} is not a search: its model is {type(model).__name__}, not SearchModel.')
    return model, shape
