"""The continuous relaxation of HOGA (section 3.3): every candidate on every edge, weighted by softmax(alpha)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmhoga.genotype import PRIMITIVES, Genotype, GenotypeError, edge_list, edge_name, num_edges, unknown_primitive
from mmhoga.models.fast.batched_gates import FusedGates
from mmhoga.models.hoga import HOGA, GroupAttention
from mmhoga.models.operations import OPERATIONS, AttentionOperation, Source
from mmhoga.models.primitives import build_operation
from mmhoga.registry import MODELS

# torch.compile gives up on a function that needs more. Cells that are alike share theirs: a shape has two or three, by
# what asks for gradients.
MAX_GRAPHS = 64


class MixedEdges(nn.Module):
    """Eq. (13) for E edges that leave one node, or for the K edges F_k -> U_k: one product an edge.

    Where all of :data:`mmhoga.models.fast.batched_gates.LEARNED` are candidates they are computed together
    (:class:`mmhoga.models.fast.batched_gates.FusedGates`); anything else contributes its own gate.

    Args:
        channels: C/K, the channels of a group.
        edges: E.
        primitives: the candidates' names; ``mixed[name]`` is the operation.
        reduction: squeeze of the channel MLPs.
    """

    def __init__(self, channels: int, edges: int, primitives: Sequence[str], *, reduction: int) -> None:
        super().__init__()
        self.primitives = tuple(primitives)
        for name in self.primitives:
            self.add_module(name, build_operation(name, channels, edges, reduction=reduction, affine=False))
        self._fused = FusedGates.of({name: self[name] for name in self.primitives})

    def __getitem__(self, name: str) -> AttentionOperation:
        return cast(AttentionOperation, self._modules[name])

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """``x`` ``(N, E or 1, C/K, H, W)``, ``weights`` ``(E, M)`` to ``(N, E, C/K, H, W)``."""
        operations = {name: self[name] for name in self.primitives}
        gate: Any = 0
        # A trace (the MACs are counted in one) cannot look into the fused form's own autograd functions.
        if self._fused is not None and not torch.jit.is_tracing() and self._fused.serves(operations):
            gate = self._fused(x, weights, operations)
            for name in self._fused.served(operations):
                del operations[name]
        source = Source(x)
        for name, operation in operations.items():
            weight = weights[:, self.primitives.index(name)].view(-1, 1, 1, 1)
            gate = gate + weight * operation.gate(source)
        return gate * x


@MODELS.register_module()
class SearchableHOGA(GroupAttention):
    """HOGA's supernet.

    Args:
        in_channels: C.
        num_groups: K.
        primitives: the candidates, of :data:`mmhoga.genotype.PRIMITIVES` and of those that
            :func:`mmhoga.models.register_primitive` added; alpha's columns, in this order.
        summary, summary_reduction, output_reduction, operation_reduction: as in :class:`mmhoga.models.HOGA`, so that
            the derived cell is the searched one.

    Attributes:
        alpha: ``(K (K + 1) / 2, M)``, rows o_00; o_01, o_11; o_02, ... (:func:`mmhoga.genotype.edge_list`),
            initialised to 1e-3 N(0, 1) (section 4.2). A search gives all its cells one and the same Parameter.

    Raises:
        ValueError: K does not divide C; fewer than one candidate besides ``none``, a repeated or an unknown one.
    """

    _bundle_rows: Tensor

    def __init__(
        self,
        in_channels: int,
        *,
        num_groups: int = 4,
        primitives: Sequence[str] = PRIMITIVES,
        summary: str = 'nodes',
        summary_reduction: int = 16,
        output_reduction: int = 8,
        operation_reduction: int = 4,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            num_groups=num_groups,
            summary=summary,
            summary_reduction=summary_reduction,
            output_reduction=output_reduction,
            init_cfg=init_cfg,
        )
        self.primitives = _check_primitives(primitives)
        self.operation_reduction = operation_reduction
        self._derived = partial(
            HOGA,
            in_channels,
            summary=summary,
            summary_reduction=summary_reduction,
            output_reduction=output_reduction,
            operation_reduction=operation_reduction,
        )
        self.alpha = nn.Parameter(1e-3 * torch.randn(num_edges(num_groups), len(self.primitives)))

        def mixed(edges: int) -> MixedEdges:
            return MixedEdges(self.group_channels, edges, self.primitives, reduction=operation_reduction)

        self.inputs = mixed(num_groups)
        self.nodes = nn.ModuleList(mixed(num_groups - 1 - j) for j in range(num_groups - 1))
        row = {edge: i for i, edge in enumerate(edge_list(num_groups))}
        bundles = [[(k, k) for k in range(num_groups)]]
        bundles += [[(j, k) for k in range(j + 1, num_groups)] for j in range(num_groups - 1)]
        self._bundle_sizes = [len(bundle) for bundle in bundles]
        rows = torch.tensor([row[edge] for bundle in bundles for edge in bundle])
        self.register_buffer('_bundle_rows', rows, persistent=False)
        self._compiled: Callable[..., Tensor] | None = None
        self._compiled_for: torch.Size | None = None

    def compile(self, **options: Any) -> None:
        """In place: ``torch.compile`` for training mode and the first shape that comes. All else runs as written.

        So validation, an epoch's last batch or a picture of another size costs no compilation of its own. The compiled
        cell cannot be differentiated twice.

        Args:
            options: of ``torch.compile``.
        """
        from torch._dynamo import config  # not at the head: it looks for compilers, and says so, in every search

        limit = 'recompile_limit' if hasattr(config, 'recompile_limit') else 'cache_size_limit'  # before torch 2.6
        setattr(config, limit, max(getattr(config, limit), MAX_GRAPHS))
        self._compiled = torch.compile(GroupAttention.forward, **{'dynamic': False, **options})

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        if self._compiled is None or not self.training:
            return super().forward(x)
        self._compiled_for = self._compiled_for or x.shape
        return self._compiled(self, x) if x.shape == self._compiled_for else super().forward(x)

    def prepare(self) -> Sequence[Tensor]:
        """softmax(alpha) for the edges of each bundle: those from the inputs, then those from each node."""
        return self.alpha.softmax(-1).index_select(0, self._bundle_rows).split(self._bundle_sizes)

    def enter(self, groups: Tensor, prepared: Sequence[Tensor]) -> list[Tensor]:
        return list(self.inputs(groups, prepared[0]).unbind(1))

    def leave(self, source: int, node: Tensor, prepared: Sequence[Tensor]) -> list[Tensor]:
        return list(self.nodes[source](node.unsqueeze(1), prepared[source + 1]).unbind(1))

    def derive(self, genotype: Any = None) -> HOGA:
        """The cell with one operation an edge, with this supernet's weights.

        With a one-hot softmax(alpha) the two compute the same. Candidates' batch norms have no scale and shift; the
        derived ones get 1 and 0.

        Args:
            genotype: by default what alpha says (:func:`derive_genotype`).

        Raises:
            ValueError: a genotype with another K, or with an operation that is no candidate here.
        """
        if genotype is None:
            genotype = derive_genotype(self.alpha, self.primitives)
        genotype = Genotype.from_config(genotype)
        if genotype.num_groups != self.num_groups:
            raise ValueError(f'The genotype has K = {genotype.num_groups}, this supernet K = {self.num_groups}.')
        cell = self._derived(genotype=genotype).to(self.alpha)
        for name in ('summary_attention', 'phi', 'output_attention'):
            getattr(cell, name).load_state_dict(getattr(self, name).state_dict())
        for j, k in edge_list(self.num_groups):
            name = genotype.operation(j, k)
            if name not in self.primitives:
                raise ValueError(f'{edge_name(j, k)} is {name!r}, no candidate here: {self.primitives}.')
            mixed, index = (self.inputs, k) if j == k else (self.nodes[j], k - j - 1)
            candidate = cast(MixedEdges, mixed)[name]
            target = cell.edges[edge_name(j, k)]
            target.load_state_dict({**target.state_dict(), **candidate.edge_state(index)})
        return cell.train(self.training)


def derive_genotype(
    alpha: Tensor, primitives: Sequence[str] = PRIMITIVES, meta: Mapping[str, Any] | None = None
) -> Genotype:
    """Discretise: the most likely operation of each edge but ``none`` (Eqs. 14, 16).

    Eq. (16) prints argmin, the text says "most likely"; the release takes the argmax and leaves ``none`` out, so that
    every edge carries something. Of equal weights the first primitive wins.

    Args:
        alpha: ``(K (K + 1) / 2, M)``.
        primitives: its columns' names.
        meta: what to record of its origin.
    """
    primitives = list(primitives)
    rows = alpha.detach().double().cpu()
    num_groups = next((k for k in range(1, len(rows) + 1) if num_edges(k) == len(rows)), None)
    if num_groups is None or rows.dim() != 2 or rows.size(1) != len(primitives):
        raise ValueError(
            f'alpha of shape {tuple(alpha.shape)} does not fit: expected K(K+1)/2 rows and {len(primitives)} columns.'
        )
    if not rows.isfinite().all():
        raise ValueError('alpha has values that are not finite; no genotype can be derived from it.')
    if 'none' in primitives and len(primitives) > 1:
        rows[:, primitives.index('none')] = -torch.inf
    best = iter(rows.argmax(1).tolist())
    return Genotype(
        tuple(tuple(primitives[next(best)] for _ in range(k + 1)) for k in range(num_groups)),
        meta or {},
    )


def _check_primitives(primitives: Sequence[str]) -> tuple[str, ...]:
    names = tuple(primitives)
    for name in names:
        if name not in OPERATIONS:
            raise GenotypeError(f'primitives: {unknown_primitive(name)}')
    if len(set(names)) != len(names):
        raise ValueError(f'A primitive is named twice: {names}.')
    if not set(names) - {'none'}:
        raise ValueError(f'There is nothing to choose from in primitives = {names}.')
    return names


def share_alpha(network: nn.Module) -> nn.Parameter:
    """Make all supernet cells of a network hold one and the same ``alpha`` (section 4.2), and return it.

    Args:
        network: any module that contains :class:`SearchableHOGA` cells.

    Raises:
        ValueError: the network has no such cell, or its cells differ in K or in their primitives.

    Example:
        >>> network = nn.Sequential(SearchableHOGA(8), SearchableHOGA(16))
        >>> alpha = share_alpha(network)
        >>> alpha is network[0].alpha is network[1].alpha
        True
    """
    cells = [module for module in network.modules() if isinstance(module, SearchableHOGA)]
    spaces = {(cell.num_groups, cell.primitives) for cell in cells}
    if len(spaces) != 1:
        found = '; '.join(f'K = {groups} with {", ".join(names)}' for groups, names in sorted(spaces)) or 'no cell'
        raise ValueError(f'Cells that share one alpha need the same K and primitives; found {found}.')
    for cell in cells[1:]:
        cell.alpha = cells[0].alpha
    return cells[0].alpha
