"""What tools/measure_latency.py does: time every candidate on every size of map that a search has, on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.config import DictAction
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.options import set_preprocessor
from mmhoga.hosts import LaunchError, import_mmpretrain, load_config
from mmhoga.report.environment import describe_environment
from mmhoga.search.costs.expected import OnMaps, cell_shapes
from mmhoga.search.costs.latency import Key, LatencyTable, measure
from mmhoga.search.model import SearchModel


def latency_main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the table. Returns the exit code: 2 for bad input."""
    parser = argparse.ArgumentParser(
        description='Time every candidate operation at every size that the cells of a search have, for its '
        "cost=dict(metric='latency', table=...).",
    )
    parser.add_argument('config', help='config of the search')
    parser.add_argument('--out', default='latency.json', help='(default: %(default)s)')
    parser.add_argument(
        '--input-shape', type=int, nargs=3, metavar=('C', 'H', 'W'), help="default: that of the config's cost"
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images at once (default: %(default)s)')
    parser.add_argument('--device', help='default: cuda where there is one, else cpu')
    parser.add_argument('--seconds', type=float, default=0.2, help='for each operation (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config: key=value')
    args = parser.parse_args(argv)

    def main() -> None:
        model, shape = _search_model(args)
        device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        modules = dict(candidates(model, shape))
        table = LatencyTable(
            measure(modules.items(), batch_size=args.batch_size, device=device, seconds=args.seconds),
            {'device': device, 'batch_size': args.batch_size, **describe_environment()},
        )
        table.save(args.out)
        for (name, channels, height, width), milliseconds in table.entries.items():
            print(f'{name:16} {channels:4} x {height} x {width}  {milliseconds:8.4f} ms')
        print(f'{args.out}: {len(modules)} entries, on {device}')

    return run(main)


def candidates(model: SearchModel, input_shape: Sequence[int]) -> Iterator[tuple[Key, nn.Module]]:
    """Every operation of a search that takes time, with the size of its maps."""
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
    set_preprocessor(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    cost: dict[str, Any] = cfg.model.pop('cost', None) or {}  # its table may not be there yet
    shape = args.input_shape or cost.get('input_shape')
    if shape is None:
        raise LaunchError(f'{args.config} does not say for which input: add --input-shape C H W.')
    model = MODELS.build(cfg.model)
    if not isinstance(model, SearchModel):
        raise LaunchError(f'{args.config} is no search: its model is a {type(model).__name__}, not a SearchModel.')
    return model, shape
