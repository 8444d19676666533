"""The cost of derived cells: a number for a genotype, and a differentiable expectation for alpha and beta.

C_c(o) is the cost of operation o on an edge of cell c: parameters, multiply-accumulates at the map size of the cell, or
milliseconds from a table. The rest of a cell costs the same for every genotype, and counts only where a block may have
no cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmhoga.genotype import Genotype, edge_list, uniform
from mmhoga.models.complexity import Complexity, count
from mmhoga.models.hoga import HOGA
from mmhoga.models.hooks import undisturbed
from mmhoga.models.operations import EdgeInput
from mmhoga.models.primitives import build_operation
from mmhoga.models.supernet import SearchableHOGA
from mmhoga.search.latency import Key, read_latencies

METRICS = ('params', 'macs', 'latency')
FREE = ('none', 'skip_connect')  # cost nothing in any metric

Shape = tuple[int, int, int]  # (C, H, W) of a cell's input


class ExpectedCost(nn.Module):
    """A term of alpha's loss: ``weight`` times the expected cost of the derived cells, relative to the largest cost.

    With p = softmax(alpha) over the candidates except ``none``, which no derived cell has (Eqs. 14, 16)::

        weight * sum_c sum_e sum_o p_e(o) C_c(o)  /  sum_c sum_e max_o C_c(o)

    The denominator is the cost with the most expensive candidate on every edge, so the term lies between 0 and
    ``weight`` for any metric. Its gradient by alpha is exact: nothing is sampled.

    With a choice of cells in each block b (:mod:`mmhoga.search.placement`), p_b(K) = softmax(beta_b), and the cost S_c
    of a cell without its edges, which a block without attention saves::

        weight * sum_b sum_K p_b(K) (S_bK + sum_e sum_o p_e(o) C_bK(o))  /  sum_b max_K (S_bK + sum_e max_o C_bK(o))

    Args:
        cells: the supernets by name, from :meth:`mmhoga.search.SearchModel.named_cells`.
        shapes: (C, H, W) of each cell's input.
        groups: for each alpha, by name, the names of the cells that share it.
        metric: ``'params'``, ``'macs'`` or ``'latency'``.
        weight: factor of the term; the weight of the loss is 1.
        table: for ``'latency'``, a file written by ``mmhoga latency``.
        blocks: the names of the cells of each block, of which it keeps one or none; None if it keeps all.

    Raises:
        ValueError: an unknown metric, a weight that is negative or not finite, a table that is missing, incomplete or
            not needed.
    """

    costs: Tensor  # (cells, M), of an operation on one edge
    fixed: Tensor  # (cells,), of a cell without its edges; 0 if every block keeps its cell
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
        blocks: Sequence[Sequence[str]] | None = None,
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

        def cost(key: Key, complexity: Callable[[], Complexity]) -> float:
            if latencies is None or key[0] in FREE:
                return float(complexity().params if metric == 'params' else complexity().macs)
            if key not in latencies:
                raise ValueError(
                    f'The latency table {table} has no entry for {key[0]!r} on {key[1]} channels of {key[2]} x '
                    f'{key[3]}. Measure the cells of your search: mmhoga latency CONFIG --out {table}'
                )
            return latencies[key]

        def of_operation(name: str, primitive: str) -> float:
            channels, reduction, size = cells[name].group_channels, cells[name].operation_reduction, shapes[name][1:]
            key = (primitive, channels, *size)
            return cost(key, lambda: operation_complexity(*key, reduction))

        def without_edges(name: str) -> float:
            if blocks is None:
                return 0.0
            return cost(cell_key(cells[name], shapes[name]), lambda: cell_complexity(cells[name], shapes[name]))

        self.weight = weight
        names = [name for group in groups.values() for name in group]
        ends = list(accumulate(map(len, groups.values())))
        self.rows = {g: slice(end - len(group), end) for (g, group), end in zip(groups.items(), ends)}  # of the buffers
        self.blocks = [[names.index(name) for name in block] for block in blocks or [[name] for name in names]]
        self.names = names
        primitives = next(iter(cells.values())).primitives
        costs = [[of_operation(name, primitive) for primitive in primitives] for name in names]
        self.register_buffer('costs', torch.tensor(costs), persistent=False)
        self.register_buffer('fixed', torch.tensor([without_edges(name) for name in names]), persistent=False)
        self.register_buffer('derivable', torch.tensor([p != 'none' for p in primitives]), persistent=False)

    def forward(self, alphas: Mapping[str, Tensor], kept: Mapping[str, Tensor] | None = None) -> Tensor:
        """The term.

        Args:
            alphas: by name, each ``(K (K + 1) / 2, M)``.
            kept: the probability of each cell, by name; 1 for cells that are not in it.
        """
        first = alphas[next(iter(self.rows))]
        costs, fixed = self.costs.to(first), self.fixed.to(first)
        one = torch.ones_like(first[0, 0])
        shares = torch.stack([(kept or {}).get(name, one) for name in self.names])
        expected, largest = first.new_zeros(()), torch.zeros_like(fixed)
        for name, rows in self.rows.items():
            p = alphas[name].masked_fill(~self.derivable, -torch.inf).softmax(-1)
            expected = expected + (p @ (shares[rows] @ costs[rows])).sum()
            largest[rows] = len(p) * costs[rows][:, self.derivable].amax(1)
        expected = expected + shares @ fixed
        total = torch.stack([(fixed + largest)[block].max() for block in self.blocks]).sum()
        return self.weight * expected / total.clamp(min=torch.finfo(total.dtype).tiny)  # all may cost 0


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


def cell_key(cell: SearchableHOGA, shape: Shape) -> Key:
    """The entry of a cell without its edges in a table of latencies."""
    return f'cell_k{cell.num_groups}', *shape


def bare_cell(cell: SearchableHOGA) -> HOGA:
    """The derived cell with ``skip_connect`` on every edge, which leaves summary, phi and output attention."""
    with torch.random.fork_rng(devices=[]):
        return _bare_cell(cell.in_channels, cell.num_groups, cell.settings)


def _bare_cell(in_channels: int, num_groups: int, settings: Mapping[str, Any]) -> HOGA:
    return HOGA(in_channels, genotype=uniform('skip_connect', num_groups), **settings)


def cell_complexity(cell: SearchableHOGA, shape: Shape) -> Complexity:
    """The cost of a derived cell without its edges, for one image."""
    return _bare_complexity(cell.in_channels, cell.num_groups, tuple(shape), **cell.settings)


@cache
def _bare_complexity(in_channels: int, num_groups: int, shape: Shape, **settings: Any) -> Complexity:
    with torch.random.fork_rng(devices=[]):
        return count(_bare_cell(in_channels, num_groups, settings), shape)


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
