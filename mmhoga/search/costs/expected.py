"""What the derived cells cost, as a number for a genotype and as a differentiable expectation for alpha.

A cell's cost is that of its edges: splitting, summary and the 1x1 convolutions at the end are the same whatever alpha
says. An operation o on an edge of cell c costs C_c(o): its parameters, its multiply-accumulates at the size of map that
the cell works on, or the milliseconds that a table says. Cells that share an alpha are added up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmhoga.genotype import Genotype, edge_list
from mmhoga.models.complexity import Complexity, count
from mmhoga.models.hooks import undisturbed
from mmhoga.models.operations import EdgeInput
from mmhoga.models.primitives import build_operation
from mmhoga.models.supernet import SearchableHOGA
from mmhoga.search.costs.latency import LatencyTable

METRICS = ('params', 'macs', 'latency')

Shape = tuple[int, int, int]  # of a cell's input: C, H, W


class ExpectedCost(nn.Module):
    """A term of the architecture loss: ``weight`` times the expected cost of the derived cells.

    With p = softmax(alpha) over the candidates but ``none``, which no derived cell has (Eqs. 14, 16)::

        weight * sum_c sum_e sum_o p_e(o) C_c(o)  /  sum_c sum_e max_o C_c(o)

    The denominator, the dearest choice on every edge, makes it a number between 0 and ``weight``, whatever the unit.
    Its gradient by alpha is exact: nothing is sampled.

    Args:
        cells: the supernets by name, as :meth:`mmhoga.search.SearchModel.named_cells` gives them.
        shapes: (C, H, W) of each cell's input.
        groups: names of the cells that share an alpha, by the name of that alpha.
        metric: ``'params'``, ``'macs'`` or ``'latency'``.
        weight: of the term, beside a loss of weight 1.
        table: for ``'latency'``, a file that ``tools/measure_latency.py`` wrote.

    Raises:
        ValueError: an unknown metric, a negative weight, a table that is missing or superfluous, or one without an
            entry that is needed.
    """

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
        if not 0 <= weight < math.inf:  # so is NaN refused
            raise ValueError(f'cost.weight must be a finite number, and not favour the dearest by a minus: {weight}.')
        if (metric == 'latency') != (table is not None):
            raise ValueError(
                "cost.metric='latency' needs cost.table, a file that tools/measure_latency.py wrote; other metrics "
                f'take none. Found metric={metric!r}, table={table!r}.'
            )
        self.metric, self.weight = metric, weight
        latencies = LatencyTable.load(table) if table is not None else None
        self.group_names = tuple(groups)
        costs = [
            sum(torch.tensor(operation_costs(cells[name], shapes[name], metric, latencies)) for name in names)
            for names in groups.values()
        ]
        primitives = next(iter(cells.values())).primitives
        chosen = torch.tensor([name != 'none' for name in primitives])
        self.register_buffer('costs', torch.stack(cast('list[Tensor]', costs)).float(), persistent=False)  # (G, M)
        self.register_buffer('chosen', chosen, persistent=False)

    costs: Tensor
    chosen: Tensor

    def forward(self, alphas: Mapping[str, Tensor]) -> Tensor:
        """The term, from the alphas by name, ``(K (K + 1) / 2, M)`` each."""
        first = alphas[self.group_names[0]]
        expected, dearest = first.new_zeros(()), first.new_zeros(())
        for name, cost in zip(self.group_names, self.costs.to(first)):
            p = alphas[name].masked_fill(~self.chosen, -torch.inf).softmax(-1)
            expected = expected + (p @ cost).sum()
            dearest = dearest + len(p) * cost[self.chosen].max()
        # Candidates that all cost nothing leave nothing to weigh.
        return self.weight * expected / dearest.clamp(min=torch.finfo(dearest.dtype).tiny)


def operation_costs(
    cell: SearchableHOGA, shape: Shape, metric: str, latencies: LatencyTable | None = None
) -> list[float]:
    """C_c(o) of each candidate, as an operation of the derived cell."""
    _, height, width = shape
    channels, reduction = cell.group_channels, cell.operation_reduction
    if latencies is not None:
        return [latencies.milliseconds(name, channels, height, width) for name in cell.primitives]
    counted = [operation_complexity(name, channels, height, width, reduction) for name in cell.primitives]
    return [float(getattr(complexity, metric)) for complexity in counted]


def genotype_cost(cells: Mapping[str, SearchableHOGA], shapes: Mapping[str, Shape], genotype: Genotype) -> Complexity:
    """Parameters and multiply-accumulates of all edges of these cells, derived by one genotype."""
    params = macs = 0
    for name, cell in cells.items():
        _, height, width = shapes[name]
        for edge in edge_list(cell.num_groups):
            operation = genotype.operation(*edge)
            one = operation_complexity(operation, cell.group_channels, height, width, cell.operation_reduction)
            params, macs = params + one.params, macs + one.macs
    return Complexity(params, macs)


@cache
def operation_complexity(name: str, channels: int, height: int, width: int, reduction: int) -> Complexity:
    """One operation on one edge of a derived cell, for one image."""
    if name in ('none', 'skip_connect'):
        return Complexity(0, 0)
    with torch.random.fork_rng(devices=[]):
        return count(OnMaps(name, channels, reduction), (channels, height, width))


class OnMaps(nn.Module):
    """An operation of a derived cell as a module from ``(N, C, H, W)`` to ``(N, C, H, W)``, by itself."""

    def __init__(self, name: str, channels: int, reduction: int) -> None:
        super().__init__()
        self.operation = build_operation(name, channels, reduction=reduction)

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(EdgeInput(x.unsqueeze(1))).squeeze(1)


def cell_shapes(architecture: nn.Module, cells: Mapping[str, SearchableHOGA], input_shape: Sequence[int]) -> Any:
    """(C, H, W) of what each cell gets from one image of ``input_shape`` (C, H, W): one pass through the backbone.

    Raises:
        ValueError: ``input_shape`` is no such triple, or a cell is not reached.
    """
    if len(input_shape) != 3:
        raise ValueError(f'input_shape is (channels, height, width) of an image, not {tuple(input_shape)}.')
    shapes: dict[str, Shape] = {}
    handles = [watch_shape(cell, name, shapes) for name, cell in cells.items()]
    backbone = getattr(architecture, 'backbone', architecture)
    some = next(architecture.parameters())
    try:
        with undisturbed(backbone), torch.no_grad():
            backbone(torch.zeros(1, *input_shape, device=some.device, dtype=some.dtype))
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in cells if name not in shapes]
    if missing:
        raise ValueError(f'The backbone, run on an image of {tuple(input_shape)}, does not reach {", ".join(missing)}.')
    return shapes


def watch_shape(cell: SearchableHOGA, name: str, shapes: dict[str, Shape]) -> Any:
    """Have the next forward passes of ``cell`` write (C, H, W) of their input to ``shapes[name]``, the first one's."""

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        shapes.setdefault(name, cast(Shape, tuple(int(size) for size in args[0].shape[1:])))

    return cell.register_forward_pre_hook(note)
