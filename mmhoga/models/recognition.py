"""Read off a state dict which genotype it was trained with.

Keys are the same under every host and carry no genotype, so it is told from their names and shapes. Two pairs of
operations cannot be told apart that way: ``none`` and ``skip_connect``, ``se`` and ``se_avgmax``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from torch import Tensor

from mmhoga.genotype import BUILTIN, PRIMITIVES, Genotype, edge_name
from mmhoga.models.operations import OPERATIONS


def describe(genotype: Genotype) -> str:
    """K and a built-in name, or else the rows."""
    name = next((name for name, known in BUILTIN.items() if known == genotype), None)
    return f'K = {genotype.num_groups}, {name or [list(row) for row in genotype.edges]}'


def describe_state(state_dict: Mapping[str, Tensor], prefix: str) -> str | None:
    """K and the genotype of the cell whose keys begin with ``prefix``, or None if there is no cell."""
    phi = state_dict.get(f'{prefix}phi.0.weight')  # (C, C + C / K, 1, 1)
    if phi is None or phi.dim() != 4 or phi.size(1) <= phi.size(0):
        return None
    group_channels = phi.size(1) - phi.size(0)
    num_groups = phi.size(0) // group_channels
    if f'{prefix}alpha' in state_dict:
        return f'K = {num_groups}, the supernet of a search'
    rows = [
        [_candidates(state_dict, f'{prefix}edges.{edge_name(j, k)}.', group_channels) for j in range(k + 1)]
        for k in range(num_groups)
    ]
    for name, known in BUILTIN.items():
        if known.num_groups == num_groups and all(
            operation in found for row, edges in zip(rows, known.edges) for found, operation in zip(row, edges)
        ):
            return f'K = {num_groups}, {name}'
    return f'K = {num_groups}, {[[" or ".join(found) or "unknown" for found in row] for row in rows]}'


def _candidates(state_dict: Mapping[str, Tensor], prefix: str, channels: int) -> list[str]:
    """The primitives that could have left the keys beginning with ``prefix``."""
    found = _signature({key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)})
    return [name for name in PRIMITIVES if _known(name, channels) == found]


@cache
def _known(name: str, channels: int) -> frozenset:
    return _signature(OPERATIONS[name](channels).state_dict())


def _signature(state: Mapping[str, Tensor]) -> frozenset:
    """Keys, with shapes where these do not depend on the reduction."""
    return frozenset(
        (key, tuple(value.shape) if key.startswith('convs.') else None)
        for key, value in state.items()
        if not key.endswith('num_batches_tracked')
    )
