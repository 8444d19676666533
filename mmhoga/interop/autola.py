"""The authors' released code (AutoLA, 2020): its genotypes and state dicts in our form.

Their graph is ours under other names. Their genotype is a flat list of (operation, index) pairs, k + 1 for node k,
where index 0 stands for F_k and index i > 0 for U_{i-1}. Their supernet has a module for each candidate of each edge,
rows of alpha starting with F_k; ours stacks the edges that leave one node, rows of alpha ending with F_k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmhoga.genotype import Genotype, edge_list, edge_name, num_edges

#: From the release's names of operations to ours.
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

#: The genotype they released; it is our ``autola_release``.
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
    """Their list of (operation, index) pairs as a genotype.

    Raises:
        ValueError: not K(K+1)/2 pairs, an unknown operation, or an index that node k cannot have or has twice.
    """
    operations = {edge: _our_name(name) for edge, (name, _) in zip(_positions(normal), normal)}
    groups = _num_groups(len(normal), 'pairs')
    return Genotype(tuple(tuple(operations[j, k] for j in range(k + 1)) for k in range(groups)))


def convert_alpha(alpha: Tensor) -> Tensor:
    """Their alpha in our order of rows; the columns agree. It is a permutation, so it also serves for gradients."""
    groups = _num_groups(len(alpha), 'rows of alpha')
    row = {edge: i for i, edge in enumerate(_release_edges(groups))}
    return alpha[[row[edge] for edge in edge_list(groups)]]


def convert_state_dict(state_dict: Mapping[str, Tensor], kind: str, normal: Normal | None = None) -> dict[str, Tensor]:
    """The state dict of one released attention cell for ``load_state_dict`` into ours.

    Args:
        state_dict: of the release's ``Attention`` module, derived or searching.
        kind: ``'derived'``, for :class:`mmhoga.models.HOGA`, or ``'supernet'``, for
            :class:`mmhoga.models.SearchableHOGA` with all primitives. The release keeps alpha in its network, not in
            its cells: where ``state_dict`` has it, as ``alphas_normal`` or ``alpha``, it is converted; otherwise the
            result holds zeros, the uniform mixture.
        normal: their genotype, for a derived cell; by default the one they released.

    Raises:
        ValueError: an unknown ``kind``, or keys that the cell of ``normal`` does not have or lacks.
    """
    if kind == 'derived':
        return _convert_derived(state_dict, RELEASED_NORMAL if normal is None else normal)
    if kind == 'supernet':
        if normal is not None:
            raise ValueError('A supernet has no genotype; leave out `normal`.')
        return _convert_supernet(state_dict)
    raise ValueError(f"kind must be 'derived' or 'supernet', not {kind!r}.")


def _convert_derived(state_dict: Mapping[str, Tensor], normal: Normal) -> dict[str, Tensor]:
    genotype = to_genotype(normal)
    edges = _positions(normal)
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
                f'{"weights, which it must not" if bare else "no weights"}. Was it trained with another `normal`?'
            )
    return converted


def _convert_supernet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    cell: dict[str, Tensor] = {}
    candidates: dict[tuple[int, str], Tensor] = {}  # (their edge, '<primitive>.<rest>')
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


def _positions(normal: Normal) -> list[tuple[int, int]]:
    """The edge (source, target) of each pair, checked to be every edge once."""
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
    """The release's order of a supernet's edges: for each node F_k first, then the earlier nodes."""
    return [(j, k) for k in range(groups) for j in (k, *range(k))]


def _num_groups(count: int, what: str) -> int:
    for groups in range(1, count + 1):
        if num_edges(groups) == count:
            return groups
    raise ValueError(f'{count} {what}: expected K(K+1)/2 of them for some K (1, 3, 6, 10, ...).')


def _our_name(name: str) -> str:
    if name not in OPERATION_NAMES:
        raise ValueError(f'Unknown operation {name!r}; the release has {", ".join(OPERATION_NAMES)}.')
    return OPERATION_NAMES[name]


def _rename(key: str, prefixes: Mapping[str, str]) -> str:
    for theirs, ours in prefixes.items():
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    raise ValueError(f'{key!r} is no key of a released attention cell; known prefixes: {_listed(prefixes)}.')


def _listed(names: Iterable[str]) -> str:
    return ', '.join(repr(name) for name in names)


def _as_conv(name: str, value: Tensor) -> Tensor:
    """Their fully connected layers are 1x1 convolutions here."""
    linear = name.endswith(('squeeze.weight', 'excite.weight'))
    return value[:, :, None, None] if linear else value
