"""The cost of derived cells: a number for a genotype, a differentiable expectation for alpha, a table of latencies.

Only the edges count; the rest of a cell costs the same for every genotype. C_c(o) is the cost of operation o on an edge
of cell c: parameters, multiply-accumulates at the map size of the cell, or milliseconds from a table. Costs of cells
that share an alpha are added.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype, edge_list
from mmhoga.models.complexity import Complexity, count
from mmhoga.models.hooks import undisturbed
from mmhoga.models.operations import EdgeInput
from mmhoga.models.primitives import build_operation
from mmhoga.models.supernet import SearchableHOGA

METRICS = ('params', 'macs', 'latency')
FREE = ('none', 'skip_connect')  # cost nothing in any metric

FORMAT = 'mmhoga.latency_table'
VERSION = 1
COLUMNS = ('primitive', 'channels', 'height', 'width', 'milliseconds')

Shape = tuple[int, int, int]  # (C, H, W) of a cell's input
Key = tuple[str, int, int, int]  # primitive, channels of a group, height, width


class ExpectedCost(nn.Module):
    """A term of alpha's loss: ``weight`` times the expected cost of the derived cells, relative to the largest cost.

    With p = softmax(alpha) over the candidates except ``none``, which no derived cell has (Eqs. 14, 16)::

        weight * sum_c sum_e sum_o p_e(o) C_c(o)  /  sum_c sum_e max_o C_c(o)

    The denominator is the cost with the most expensive candidate on every edge, so the term lies between 0 and
    ``weight`` for any metric. Its gradient by alpha is exact: nothing is sampled.

    Args:
        cells: the supernets by name, from :meth:`mmhoga.search.SearchModel.named_cells`.
        shapes: (C, H, W) of each cell's input.
        groups: for each alpha, by name, the names of the cells that share it.
        metric: ``'params'``, ``'macs'`` or ``'latency'``.
        weight: factor of the term; the weight of the loss is 1.
        table: for ``'latency'``, a file written by ``mmhoga latency``.

    Raises:
        ValueError: an unknown metric, a weight that is negative or not finite, a table that is missing, incomplete or
            not needed.
    """

    costs: Tensor  # (alphas, M)
    derivable: Tensor  # (M,)

    def __init__(
        self,
        cells: Mapping[str, SearchableHOGA],
        shapes: Mapping[str, Shape],
        groups: Mapping[str, Sequence[str]],
        *,
        metric: str,
        weight: float,
        table: str | None = None,
    ) -> None:
        super().__init__()
        if metric not in METRICS:
            raise ValueError(f'cost.metric must be one of {METRICS}, not {metric!r}.')
        if not 0 <= weight < math.inf:  # false for NaN
            raise ValueError(f'cost.weight must be finite and not negative, not {weight}.')
        if (metric == 'latency') != (table is not None):
            raise ValueError(
                "cost.metric='latency' needs cost.table, a file written by mmhoga latency; other metrics take none. "
                f'Here metric={metric!r} and table={table!r}.'
            )
        latencies = None if table is None else read_latencies(table)
        self.weight, self.group_names = weight, tuple(groups)

        def cost(cell: SearchableHOGA, shape: Shape, primitive: str) -> float:
            channels, height, width = cell.group_channels, *shape[1:]
            if latencies is None or primitive in FREE:
                complexity = operation_complexity(primitive, channels, height, width, cell.operation_reduction)
                return complexity.params if metric == 'params' else complexity.macs
            if (primitive, channels, height, width) not in latencies:
                raise ValueError(
                    f'The latency table {table} has no entry for {primitive!r} on {channels} channels of {height} x '
                    f'{width}. Measure the cells of your search: mmhoga latency CONFIG --out {table}'
                )
            return latencies[primitive, channels, height, width]

        primitives = next(iter(cells.values())).primitives
        costs = [
            [float(sum(cost(cells[name], shapes[name], primitive) for name in names)) for primitive in primitives]
            for names in groups.values()
        ]
        self.register_buffer('costs', torch.tensor(costs), persistent=False)
        self.register_buffer('derivable', torch.tensor([p != 'none' for p in primitives]), persistent=False)

    def forward(self, alphas: Mapping[str, Tensor]) -> Tensor:
        """The term, from the alphas by name, each ``(K (K + 1) / 2, M)``."""
        first = alphas[self.group_names[0]]
        expected, largest = first.new_zeros(()), first.new_zeros(())
        for name, cost in zip(self.group_names, self.costs.to(first)):
            p = alphas[name].masked_fill(~self.derivable, -torch.inf).softmax(-1)
            expected = expected + (p @ cost).sum()
            largest = largest + len(p) * cost[self.derivable].max()
        return self.weight * expected / largest.clamp(min=torch.finfo(largest.dtype).tiny)  # all may cost 0


def genotype_cost(cells: Mapping[str, SearchableHOGA], shapes: Mapping[str, Shape], genotype: Genotype) -> Complexity:
    """Parameters and multiply-accumulates of all edges of these cells, derived by one genotype."""
    costs = [
        operation_complexity(
            genotype.operation(*edge), cell.group_channels, *shapes[name][1:], cell.operation_reduction
        )
        for name, cell in cells.items()
        for edge in edge_list(cell.num_groups)
    ]
    return Complexity(sum(cost.params for cost in costs), sum(cost.macs for cost in costs))


@cache
def operation_complexity(name: str, channels: int, height: int, width: int, reduction: int) -> Complexity:
    """The cost of one operation on one edge of a derived cell, for one image."""
    if name in FREE:
        return Complexity(0, 0)
    with torch.random.fork_rng(devices=[]):
        return count(OnMaps(name, channels, reduction), (channels, height, width))


class OnMaps(nn.Module):
    """One operation of a derived cell as a module from ``(N, C, H, W)`` to ``(N, C, H, W)``."""

    def __init__(self, name: str, channels: int, reduction: int) -> None:
        super().__init__()
        self.operation = build_operation(name, channels, reduction=reduction)

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(EdgeInput(x.unsqueeze(1))).squeeze(1)


def cell_shapes(
    architecture: nn.Module, cells: Mapping[str, SearchableHOGA], input_shape: Sequence[int]
) -> dict[str, Shape]:
    """(C, H, W) of each cell's input for one image of ``input_shape`` (C, H, W), from one pass without the head.

    Raises:
        ValueError: ``input_shape`` does not have three numbers, or the pass does not reach a cell.
    """
    if len(input_shape) != 3:
        raise ValueError(f'input_shape is (channels, height, width) of an image, not {tuple(input_shape)}.')
    shapes: dict[str, Shape] = {}
    for name, cell in cells.items():
        record_input_shape(cell, name, shapes)
    features: Any = getattr(architecture, 'extract_feat', getattr(architecture, 'backbone', architecture))
    with undisturbed(architecture), torch.no_grad():
        features(next(architecture.parameters()).new_zeros(1, *input_shape))
    missing = [name for name in cells if name not in shapes]
    if missing:
        raise ValueError(
            f'A pass of an image of {tuple(input_shape)} without the head does not reach {", ".join(missing)}.'
        )
    return shapes


def record_input_shape(cell: SearchableHOGA, name: str, shapes: dict[str, Shape]) -> None:
    """Make the next forward pass of ``cell`` store (C, H, W) of its input in ``shapes[name]``."""

    def record(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        shapes[name] = cast(Shape, tuple(args[0].shape[1:]))
        handle.remove()

    handle = cell.register_forward_pre_hook(record)


def read_latencies(path: str | os.PathLike) -> dict[Key, float]:
    """The milliseconds of derived operations on one edge, from a file that ``mmhoga latency`` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is not a latency table, or has an entry that is not a time.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no latency table {path}. Measure one: mmhoga latency CONFIG --out {path}')
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
        kind = (data.get('format'), data.get('version'))
        if kind != (FORMAT, VERSION):
            raise ValueError(f'format and version are {kind}, expected {(FORMAT, VERSION)}')
        rows = [tuple(entry[column] for column in COLUMNS) for entry in data['entries']]
        entries = {(str(name), int(c), int(h), int(w)): float(value) for name, c, h, w, value in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not a latency table, or was cut off: {error!r}') from error
    for key, value in entries.items():
        if not 0 <= value < math.inf:  # false for NaN
            raise ValueError(f'{path}: invalid latency {value} ms for {key}.')
    return entries


def write_latencies(path: str | os.PathLike, entries: Mapping[Key, float], meta: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all; ``meta`` records the conditions of the measurement."""
    rows = [dict(zip(COLUMNS, (*key, value))) for key, value in entries.items()]
    data = {'format': FORMAT, 'version': VERSION, 'meta': meta, 'entries': rows}
    write_atomic(path, json.dumps(data, indent=1) + '\n')


def measure(
    modules: Iterable[tuple[Key, nn.Module]], *, batch_size: int = 1, device: str = 'cpu', seconds: float = 0.2
) -> dict[Key, float]:
    """The median milliseconds of a forward pass of each module, in eval mode, without gradients.

    Measures each module for ``seconds`` after a warm-up, on ``batch_size`` maps of the size in its key.
    """
    # Imported here: this module looks for compilers, and logs it, which is not wanted in every search.
    from torch.utils.benchmark import Timer

    entries = {}
    for key, module in modules:
        x = torch.rand(batch_size, *key[1:], device=device)
        names = {'module': module.eval().to(device), 'x': x}
        timer = Timer('module(x)', globals=names, num_threads=torch.get_num_threads())
        with torch.inference_mode():
            timer.timeit(3)
            entries[key] = timer.blocked_autorange(min_run_time=seconds).median * 1e3
    return entries
