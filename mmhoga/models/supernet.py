"""The supernet of HOGA (section 3.3): every candidate on every edge, weighted by the mix."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmhoga.genotype import PRIMITIVES, Genotype, edge_list, edge_name, num_edges
from mmhoga.models.arguments import check_integers
from mmhoga.models.fast.batched_gates import BatchedGates
from mmhoga.models.hoga import HOGA, GroupAttention
from mmhoga.models.mixing import Mixing
from mmhoga.models.operations import AttentionOperation, EdgeInput
from mmhoga.models.primitives import build_operation
from mmhoga.registry import MODELS

# Recompile limit. Identical cells share 2 or 3 graphs per shape, one for each set of tensors that need gradients.
MAX_GRAPHS = 64


class MixedEdges(nn.Module):
    """Eq. (13) for the E edges that leave one node, or for the K edges F_k -> U_k: one product per edge.

    If all of :data:`mmhoga.models.fast.batched_gates.LEARNED` are candidates, ``batched_gates`` computes their gates
    together. Other candidates, and all of them if it is None, compute their gates one by one. ``mixed[name]`` is the
    operation of a candidate.
    """

    def __init__(
        self,
        channels: int,
        edges: int,
        primitives: Sequence[str],
        *,
        reduction: int,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.primitives = tuple(primitives)
        for name in self.primitives:
            operation = build_operation(name, channels, edges, reduction=reduction, affine=False, norm_cfg=norm_cfg)
            self.add_module(name, operation)
        self.batched_gates = BatchedGates.of({name: self[name] for name in self.primitives})

    def __getitem__(self, name: str) -> AttentionOperation:
        return cast(AttentionOperation, self._modules[name])

    def forward(self, x: Tensor, mix: Tensor) -> Tensor:
        """``x`` ``(N, E or 1, C/K, H, W)``, ``mix`` ``(E, M)`` to ``(N, E, C/K, H, W)``."""
        operations = {name: self[name] for name in self.primitives}
        gate: Any = 0
        batched = self.batched_gates
        # Not in a trace, as in the count of MACs: it would fail on the autograd functions of the batched form.
        # Not on an empty batch, whose maps have no unique shape.
        if batched is not None and not torch.jit.is_tracing() and x.size(0) != 0 and batched.is_applicable(operations):
            gate = batched(x, mix, operations)
            for name in batched.covered_names(operations):
                del operations[name]
        edge_input = EdgeInput(x)
        for name, operation in operations.items():
            share = mix[:, self.primitives.index(name)].view(-1, 1, 1, 1)
            gate = gate + share * operation.gate(edge_input)
        return gate * x


@MODELS.register_module()
class SearchableHOGA(GroupAttention):
    """HOGA's supernet.

    Args:
        in_channels: C.
        num_groups: K.
        primitives: the candidates, which are the columns of alpha in this order; names of
            :data:`mmhoga.genotype.PRIMITIVES` or added by :func:`mmhoga.register_primitive`.
        summary, summary_reduction, output_reduction, operation_reduction, start, norm_cfg: of the derived
            cell, see :class:`HOGA`. The norms of candidates have no scale and shift.

    Attributes:
        alpha: ``(K (K + 1) / 2, M)``, rows o_00; o_01, o_11; o_02, ... (:func:`mmhoga.genotype.edge_list`),
            initialised to 1e-3 N(0, 1) (section 4.2). In a search all cells share one Parameter.
        mixing: :class:`mmhoga.models.mixing.Mixing`, which turns alpha into the mix; shared with alpha.

    Raises:
        ValueError: K does not divide C; no candidate besides ``none``, a repeated one or an unknown one.

    Example:
        >>> import torch
        >>> from mmhoga.models import SearchableHOGA
        >>> cell = SearchableHOGA(16, num_groups=2, primitives=['skip_connect', 'se', 'norm_3x3'])
        >>> cell(torch.rand(2, 16, 7, 7)).shape, cell.alpha.shape
        (torch.Size([2, 16, 7, 7]), torch.Size([3, 3]))
        >>> with torch.no_grad():
        ...     cell.alpha[:, 1] = 5
        >>> print(cell.derive().genotype)
        U0 <- se(F0)
        U1 <- se(U0), se(F1)
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
        start: str = 'random',
        norm_cfg: Mapping[str, Any] | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        around: Any = dict(
            summary=summary,
            summary_reduction=summary_reduction,
            output_reduction=output_reduction,
            start=start,
            norm_cfg=norm_cfg,
        )
        super().__init__(in_channels, num_groups=num_groups, **around, init_cfg=init_cfg)
        self.primitives = _names(primitives)
        if len(set(self.primitives)) != len(self.primitives):
            raise ValueError(f'A primitive is named twice: {self.primitives}.')
        if not set(self.primitives) - {'none'}:
            raise ValueError(f'primitives={self.primitives} leaves no choice: name at least one besides none.')
        check_integers(operation_reduction=operation_reduction)
        self.operation_reduction = operation_reduction
        self._derived = partial(HOGA, in_channels, **around, operation_reduction=operation_reduction)
        self.alpha = nn.Parameter(1e-3 * torch.randn(num_edges(num_groups), len(self.primitives)))
        self.mixing = Mixing()

        def mixed(edges: int) -> MixedEdges:
            return MixedEdges(
                self.group_channels, edges, self.primitives, reduction=operation_reduction, norm_cfg=norm_cfg
            )

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
        """Use ``torch.compile(..., **options)``, in place, for training mode and the first shape of input.

        Other modes and shapes run eagerly, so that validation or the last batch of an epoch triggers no compilation.
        The compiled cell cannot be differentiated twice.
        """
        from torch._dynamo import config  # not at the top: the import looks for compilers and logs that

        limit = 'recompile_limit' if hasattr(config, 'recompile_limit') else 'cache_size_limit'  # before torch 2.6
        setattr(config, limit, max(getattr(config, limit), MAX_GRAPHS))
        self._compiled = torch.compile(GroupAttention.forward, **{'dynamic': False, **options})

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        if self._compiled is None or not self.training:
            return super().forward(x)
        self._compiled_for = self._compiled_for or x.shape
        return self._compiled(self, x) if x.shape == self._compiled_for else super().forward(x)

    def edge_weights(self) -> Sequence[Tensor]:
        """The mix for the edges of each bundle: the edges from the inputs, then those from each node."""
        mix = self.mixing(self.alpha, self.training)
        return mix.index_select(0, self._bundle_rows).split(self._bundle_sizes)

    def input_messages(self, groups: Tensor, edge_weights: Sequence[Tensor]) -> list[Tensor]:
        return list(self.inputs(groups, edge_weights[0]).unbind(1))

    def messages_from(self, j: int, node: Tensor, edge_weights: Sequence[Tensor]) -> list[Tensor]:
        return list(self.nodes[j](node.unsqueeze(1), edge_weights[j + 1]).unbind(1))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that this supernet shares with its derived cell."""
        return self._derived.keywords

    def with_groups(self, num_groups: int) -> SearchableHOGA:
        """A new supernet with the settings of this one and another K."""
        cell = SearchableHOGA(self.in_channels, num_groups=num_groups, primitives=self.primitives, **self.settings)
        return cell.to(self.alpha).train(self.training)

    def derive(self, genotype: Any = None) -> HOGA:
        """The cell with the operations of a genotype, by default that of alpha, and the weights of this supernet.

        With a one-hot mix the two compute the same. The batch norms of candidates have no scale and shift; those of the
        derived cell start at 1 and 0.

        Raises:
            ValueError: a genotype with another K, or with an operation that is not a candidate here.
        """
        if genotype is None:
            genotype = derive_genotype(self.alpha, self.primitives)
        genotype = Genotype.from_config(genotype)
        if genotype.num_groups != self.num_groups:
            raise ValueError(
                f'The genotype has K = {genotype.num_groups}, but this supernet has K = {self.num_groups}.'
            )
        cell = self._derived(genotype=genotype).to(self.alpha)
        for name in ('summary_attention', 'phi', 'output_attention'):
            getattr(cell, name).load_state_dict(getattr(self, name).state_dict())
        for j, k in edge_list(self.num_groups):
            name = genotype.operation(j, k)
            if name not in self.primitives:
                raise ValueError(f'{edge_name(j, k)} is {name!r}, which is not among the candidates {self.primitives}.')
            mixed, index = (self.inputs, k) if j == k else (self.nodes[j], k - j - 1)
            candidate = cast(MixedEdges, mixed)[name]
            target = cell.edges[edge_name(j, k)]
            target.load_state_dict({**target.state_dict(), **candidate.edge_state(index)})
        return cell.train(self.training)


def _names(primitives: Sequence[str]) -> tuple[str, ...]:
    """The primitives; ValueError unless they are a list of names."""
    names = isinstance(primitives, Sequence) and not isinstance(primitives, str)
    if not names or not all(isinstance(name, str) for name in primitives):
        raise ValueError(
            f"primitives must be a list of names, such as ['skip_connect', 'se'], not {reprlib.repr(primitives)}."
        )
    return tuple(primitives)


def derive_genotype(
    alpha: Tensor, primitives: Sequence[str] = PRIMITIVES, meta: Mapping[str, Any] | None = None
) -> Genotype:
    """Discretise alpha: the most likely operation of each edge except ``none`` (Eqs. 14, 16).

    Eq. (16) prints argmin, but the text has "most likely". The released code takes the argmax without ``none``, so that
    no edge is empty. Of equal values the first wins.

    Args:
        alpha: ``(K (K + 1) / 2, M)``.
        primitives: the names of its columns.
        meta: the origin to record in the genotype.
    """
    primitives = list(primitives)
    rows = alpha.detach().double().cpu()
    num_groups = next((k for k in range(1, len(rows) + 1) if num_edges(k) == len(rows)), None)
    if num_groups is None or rows.dim() != 2 or rows.size(1) != len(primitives):
        raise ValueError(
            f'alpha has the shape {tuple(alpha.shape)}; expected K(K+1)/2 rows and {len(primitives)} columns.'
        )
    if not rows.isfinite().all():
        raise ValueError('alpha has values that are not finite: the search diverged. No genotype can be derived.')
    if 'none' in primitives and len(primitives) > 1:
        rows[:, primitives.index('none')] = -torch.inf
    best = iter(rows.argmax(1).tolist())
    return Genotype(
        tuple(tuple(primitives[next(best)] for _ in range(k + 1)) for k in range(num_groups)),
        meta or {},
    )


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
        cell.alpha, cell.mixing = cells[0].alpha, cells[0].mixing
    return cells[0].alpha
