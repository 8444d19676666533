"""Converters for genotypes and state dicts of the authors' released code (AutoLA, 2020).

Their graph is the same as ours. Their genotype is a flat list of (operation, index) pairs with k + 1 pairs for node k;
index 0 is F_k and index i > 0 is U_{i-1}. Their supernet has one module per candidate and edge, and its rows of alpha
for node k start with F_k. Our supernet stacks the edges that leave a node, and its rows end with F_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmhoga.genotype import Genotype, edge_list, edge_name, num_edges

#: Name of an operation in the release -> our primitive. The order is that of the columns of alpha.
OPERATION_NAMES = {
    'none': 'none',
    'skip_connect': 'skip_connect',
    'sep_conv_3x3': 'norm_3x3',
    'dil_conv_3x3': 'norm_3x3_d2',
    'sep_conv_3x3_spatial': 'spatial_3x3',
    'dil_conv_3x3_spatial': 'spatial_3x3_d2',
    'SE': 'se',
    'SE_A_M': 'se_avgmax',
    'CBAM': 'cbam',
}

#: The released genotype, our ``autola_release``.
RELEASED_NORMAL = (
    ('skip_connect', 0),
    ('sep_conv_3x3_spatial', 0), ('sep_conv_3x3', 1),
    ('CBAM', 0), ('skip_connect', 2), ('sep_conv_3x3', 1),
    ('sep_conv_3x3', 0), ('skip_connect', 1), ('sep_conv_3x3', 3), ('dil_conv_3x3', 2),
)  # fmt: skip

_CELL_PREFIXES = {
    'se.fc.0.': 'summary_attention.squeeze.',
    'se.fc.2.': 'summary_attention.excite.',
    'se2.fc.0.': 'output_attention.squeeze.',
    'se2.fc.2.': 'output_attention.excite.',
    'channel_back.': 'phi.',
}
_OPERATION_PREFIXES = {
    'op.': 'convs.',
    'fc.0.': 'squeeze.',
    'fc.2.': 'excite.',
    'ChannelGate.mlp.1.': 'channel.squeeze.',
    'ChannelGate.mlp.3.': 'channel.excite.',
    'SpatialGate.spatial.conv.': 'conv.',
    'SpatialGate.spatial.bn.': 'bn.',
}

Normal = Sequence[Sequence[Any]]


def to_genotype(normal: Normal) -> Genotype:
    """Convert a list of (operation, index) pairs.

    Raises:
        ValueError: there are not K(K+1)/2 pairs, an operation is unknown, or an index is out of range or repeated.
    """
    operations = {}
    for edge, (name, _) in zip(_edges(normal), normal):
        if name not in OPERATION_NAMES:
            raise ValueError(f'Unknown operation {name!r}. The release has {", ".join(OPERATION_NAMES)}.')
        operations[edge] = OPERATION_NAMES[name]
    groups = _num_groups(len(normal), 'pairs')
    return Genotype(tuple(tuple(operations[j, k] for j in range(k + 1)) for k in range(groups)))


def convert_alpha(alpha: Tensor) -> Tensor:
    """Reorder the rows of their alpha, or of its gradient. The columns have the same order."""
    groups = _num_groups(len(alpha), 'rows of alpha')
    row = {edge: i for i, edge in enumerate(_release_edges(groups))}
    return alpha[[row[edge] for edge in edge_list(groups)]]


def convert_state_dict(state_dict: Mapping[str, Tensor], kind: str, normal: Normal | None = None) -> dict[str, Tensor]:
    """Convert the state dict of one released attention cell.

    Args:
        state_dict: of the release's ``Attention`` module, derived or searching. The release keeps alpha in its
            network; add it as ``alphas_normal`` or ``alpha``. Without it alpha is zero, a uniform mix.
        kind: ``'derived'`` for :class:`mmhoga.models.HOGA`, or ``'supernet'`` for
            :class:`mmhoga.models.SearchableHOGA` with all primitives.
        normal: genotype of a derived cell, by default the released one.

    Raises:
        ValueError: ``kind`` is unknown, or the keys do not fit the cell.
    """
    if kind == 'derived':
        return _convert_derived(state_dict, RELEASED_NORMAL if normal is None else normal)
    if kind == 'supernet':
        if normal is not None:
            raise ValueError('A supernet has no genotype: leave out `normal`.')
        return _convert_supernet(state_dict)
    raise ValueError(f"kind must be 'derived' or 'supernet', not {kind!r}.")


def _convert_derived(state_dict: Mapping[str, Tensor], normal: Normal) -> dict[str, Tensor]:
    genotype = to_genotype(normal)
    edges = _edges(normal)
    converted = {}
    for key, value in state_dict.items():
        if not key.startswith('_ops.'):
            name = _rename(key, _CELL_PREFIXES)
        else:
            position, _, rest = key[len('_ops.') :].partition('.')
            if int(position) >= len(edges):
                raise ValueError(f'{key!r} belongs to edge {position}, but the genotype has only {len(edges)} edges.')
            j, k = edges[int(position)]
            name = f'edges.{edge_name(j, k)}.{_rename(rest, _OPERATION_PREFIXES)}'
        converted[name] = _as_conv(name, value)
    for j, k in edges:
        prefix = f'edges.{edge_name(j, k)}.'
        bare = genotype.operation(j, k) in ('none', 'skip_connect')
        if bare == any(name.startswith(prefix) for name in converted):
            raise ValueError(
                f'The state dict does not fit the genotype: {edge_name(j, k)} is {genotype.operation(j, k)!r} and has '
                f'{"weights, which it must not have" if bare else "no weights"}. Was it trained with another `normal`?'
            )
    return converted


def _convert_supernet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    cell: dict[str, Tensor] = {}
    candidates: dict[tuple[int, str], Tensor] = {}  # (index of their edge, '<primitive>.<rest>')
    alpha = None
    for key, value in state_dict.items():
        if key in ('alphas_normal', 'alpha'):
            alpha = convert_alpha(value)
        elif not key.startswith('_ops.'):
            name = _rename(key, _CELL_PREFIXES)
            cell[name] = _as_conv(name, value)
        else:
            _, edge, _, candidate, rest = key.split('.', 4)
            name = f'{list(OPERATION_NAMES.values())[int(candidate)]}.{_rename(rest, _OPERATION_PREFIXES)}'
            candidates[int(edge), name] = _as_conv(name, value)
    groups = _num_groups(len({edge for edge, _ in candidates}), 'mixed operations')
    position = {edge: i for i, edge in enumerate(_release_edges(groups))}
    bundles = {'inputs': [(k, k) for k in range(groups)]}
    bundles.update({f'nodes.{j}': [(j, k) for k in range(j + 1, groups)] for j in range(groups - 1)})
    for bundle, edges in bundles.items():
        for name in [name for edge, name in candidates if edge == 0]:
            values = [candidates[position[edge], name] for edge in edges]
            cell[f'{bundle}.{name}'] = values[0] if values[0].dim() == 0 else torch.cat(values)
    cell['alpha'] = torch.zeros(num_edges(groups), len(OPERATION_NAMES)) if alpha is None else alpha
    return cell


def _edges(normal: Normal) -> list[tuple[int, int]]:
    """The edge (source, target) of each pair. Every edge must be there once."""
    groups = _num_groups(len(normal), 'pairs')
    targets = [k for k in range(groups) for _ in range(k + 1)]
    edges = []
    for position, ((name, index), k) in enumerate(zip(normal, targets)):
        if not isinstance(index, int) or not 0 <= index <= k:
            raise ValueError(f'Pair {position}, ({name!r}, {index!r}): node {k} takes indices 0 to {k}.')
        edge = (k if index == 0 else index - 1, k)
        if edge in edges:
            raise ValueError(f'Pair {position}, ({name!r}, {index!r}): node {k} has index {index} twice.')
        edges.append(edge)
    return edges


def _release_edges(groups: int) -> list[tuple[int, int]]:
    """The edges in the order of the released supernet: for each node first F_k, then the earlier nodes."""
    return [(j, k) for k in range(groups) for j in (k, *range(k))]


def _num_groups(count: int, what: str) -> int:
    for groups in range(1, count + 1):
        if num_edges(groups) == count:
            return groups
    raise ValueError(f'{count} {what}: expected K(K+1)/2, which is 1, 3, 6, 10, ...')


def _rename(key: str, prefixes: Mapping[str, str]) -> str:
    for theirs, ours in prefixes.items():
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    raise ValueError(f'{key!r} is not a key of a released attention cell. Known prefixes: {", ".join(prefixes)}.')


def _as_conv(name: str, value: Tensor) -> Tensor:
    """Reshape a fully connected layer of theirs to our 1x1 convolution."""
    is_linear = name.endswith(('squeeze.weight', 'excite.weight'))
    return value[:, :, None, None] if is_linear else value
