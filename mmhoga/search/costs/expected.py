"""The cost of derived cells: a number for a genotype, a differentiable expectation for alpha.

Only the edges count; the rest of a cell costs the same for every genotype. C_c(o) is the cost of operation o on an edge
of cell c: parameters, multiply-accumulates at the map size of the cell, or milliseconds from a table. Costs of cells
that share an alpha are added.
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

Shape = tuple[int, int, int]  # (C, H, W) of a cell's input


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
        latencies = LatencyTable.load(table) if table is not None else None
        self.weight, self.group_names = weight, tuple(groups)

        def operation_costs(name: str) -> Tensor:
            cell, (_, height, width) = cells[name], shapes[name]
            size = cell.group_channels, height, width
            if latencies is not None:
                return torch.tensor([latencies.milliseconds(primitive, *size) for primitive in cell.primitives])
            counts = [operation_complexity(primitive, *size, cell.operation_reduction) for primitive in cell.primitives]
            return torch.tensor([float(getattr(complexity, metric)) for complexity in counts])

        costs = [torch.stack([operation_costs(name) for name in names]).sum(0) for names in groups.values()]
        primitives = next(iter(cells.values())).primitives
        self.register_buffer('costs', torch.stack(costs), persistent=False)  # (alphas, M)
        self.register_buffer('derivable', torch.tensor([p != 'none' for p in primitives]), persistent=False)

    costs: Tensor
    derivable: Tensor

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
    if name in ('none', 'skip_connect'):
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


def cell_shapes(architecture: nn.Module, cells: Mapping[str, SearchableHOGA], input_shape: Sequence[int]) -> Any:
    """(C, H, W) of each cell's input for one image of ``input_shape`` (C, H, W), from one pass of the backbone.

    Raises:
        ValueError: ``input_shape`` does not have three numbers, or the pass does not reach a cell.
    """
    if len(input_shape) != 3:
        raise ValueError(f'input_shape is (channels, height, width) of an image, not {tuple(input_shape)}.')
    shapes: dict[str, Shape] = {}
    handles = [record_input_shape(cell, name, shapes) for name, cell in cells.items()]
    backbone = getattr(architecture, 'backbone', architecture)
    image = next(architecture.parameters()).detach().new_zeros(1, *input_shape)
    try:
        with undisturbed(backbone), torch.no_grad():
            backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in cells if name not in shapes]
    if missing:
        raise ValueError(f'The backbone, run on an image of {tuple(input_shape)}, does not reach {", ".join(missing)}.')
    return shapes


def record_input_shape(cell: SearchableHOGA, name: str, shapes: dict[str, Shape]) -> Any:
    """Make the next forward pass of ``cell`` store (C, H, W) of its input in ``shapes[name]``; returns the handle."""

    def record(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        shapes.setdefault(name, cast(Shape, tuple(int(size) for size in args[0].shape[1:])))

    return cell.register_forward_pre_hook(record)
