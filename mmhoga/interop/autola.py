"""Converters for genotypes and state dicts of the authors' released code (AutoLA, 2020).

Their graph is the same as ours. Their genotype is a flat list of (operation, index) pairs with k + 1 pairs for node k;
index 0 is F_k and index i > 0 is U_{i-1}. Their supernet has one module per candidate and edge, and its rows of alpha
for node k start with F_k. Our supernet stacks the edges that leave a node, and its rows end with F_k.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmhoga.genotype import Genotype, GenotypeError, edge_list, edge_name, num_edges

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
_CALL = re.compile(r'(?:(\w+)\s*=\s*)?\bGenotype(?=\()')

Normal = Sequence[Sequence[Any]]


def read_genotypes(text: str) -> dict[str, Genotype]:
    """Every genotype by name in the authors' ``genotypes.py`` or the log of a search, in the order of the text.

    Both have lines like ``NAME = Genotype(normal=[('skip_connect', 0), ...], ...)``. Only literals are read; no code
    runs. A repeated name, such as ``genotype`` in every epoch of a log, gets a number: ``genotype#2``. A genotype
    without a name is called ``genotype``.

    Raises:
        GenotypeError: there is no genotype, or one is cut off or wrong. The message names its line.
    """
    genotypes: dict[str, Genotype] = {}
    count: Counter[str] = Counter()
    for match in _CALL.finditer(text):
        name = match[1] or 'genotype'
        count[name] += 1
        if count[name] > 1:
            name = f'{name}#{count[name]}'
        try:
            genotypes[name] = to_genotype(_normal(text[match.end() :]))
        except (ValueError, TypeError) as error:
            line = text.count('\n', 0, match.start()) + 1
            raise GenotypeError(f'Line {line}: {error}') from error
    if not genotypes:
        raise GenotypeError("There is no 'Genotype(normal=[...], ...)' in this text.")
    return genotypes


def to_genotype(normal: Normal) -> Genotype:
    """Convert a list of (operation, index) pairs.

    Raises:
        ValueError: there are not K(K+1)/2 pairs, an operation is unknown, or an index is out of range or repeated.
    """
    operations = _operations(normal)
    return Genotype(tuple(tuple(operations[j, k] for j in range(k + 1)) for k in range(_num_groups(len(normal)))))


def convert_alpha(alpha: Tensor) -> Tensor:
    """Reorder the rows of their alpha, or of its gradient. The columns have the same order."""
    groups = _num_groups(len(alpha), 'rows of alpha')
    theirs = _release_edges(groups)
    return alpha[[theirs.index(edge) for edge in edge_list(groups)]]


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
    if kind != 'supernet':
        raise ValueError(f"kind must be 'derived' or 'supernet', not {kind!r}.")
    if normal is not None:
        raise ValueError('A supernet has no genotype: leave out `normal`.')
    return _convert_supernet(state_dict)


def _convert_derived(state_dict: Mapping[str, Tensor], normal: Normal) -> dict[str, Tensor]:
    operations = _operations(normal)
    prefixes = [f'edges.{edge_name(*edge)}.' for edge in operations]
    converted = {}
    for key, value in state_dict.items():
        if not key.startswith('_ops.'):
            name, converted[name] = _convert(key, value, _CELL_PREFIXES)
            continue
        _, position, rest = key.split('.', 2)
        if int(position) >= len(prefixes):
            raise ValueError(f'{key!r} belongs to edge {position}, but the genotype has only {len(prefixes)} edges.')
        name, value = _convert(rest, value, _OPERATION_PREFIXES)
        converted[prefixes[int(position)] + name] = value
    for edge, operation in operations.items():
        has_weights = any(key.startswith(f'edges.{edge_name(*edge)}.') for key in converted)
        if has_weights == (operation in ('none', 'skip_connect')):
            raise ValueError(
                f'The state dict does not fit the genotype: {edge_name(*edge)} is {operation!r} and has '
                f'{"weights" if has_weights else "no weights"}. Was it trained with another `normal`?'
            )
    return converted


def _convert_supernet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    cell: dict[str, Tensor] = {}
    candidates: dict[str, dict[int, Tensor]] = {}  # '<primitive>.<rest>' -> index of the edge -> value
    for key, value in state_dict.items():
        if key in ('alphas_normal', 'alpha'):
            cell['alpha'] = convert_alpha(value)
        elif key.startswith('_ops.'):
            _, edge, _, candidate, rest = key.split('.', 4)
            name, converted = _convert(rest, value, _OPERATION_PREFIXES)
            candidates.setdefault(f'{[*OPERATION_NAMES.values()][int(candidate)]}.{name}', {})[int(edge)] = converted
        else:
            name, cell[name] = _convert(key, value, _CELL_PREFIXES)
    groups = _num_groups(len({edge for values in candidates.values() for edge in values}), 'mixed operations')
    theirs = _release_edges(groups)
    bundles = {'inputs': [(k, k) for k in range(groups)]}
    bundles.update({f'nodes.{j}': [(j, k) for k in range(j + 1, groups)] for j in range(groups - 1)})
    for bundle, edges in bundles.items():
        for name, values in candidates.items():
            bundled = [values[theirs.index(edge)] for edge in edges]
            cell[f'{bundle}.{name}'] = bundled[0] if bundled[0].dim() == 0 else torch.cat(bundled)
    cell.setdefault('alpha', torch.zeros(num_edges(groups), len(OPERATION_NAMES)))
    return cell


def _convert(key: str, value: Tensor, prefixes: Mapping[str, str]) -> tuple[str, Tensor]:
    """Our key, and the value with fully connected layers reshaped to 1x1 convolutions."""
    for theirs, ours in prefixes.items():
        if key.startswith(theirs):
            name = ours + key[len(theirs) :]
            is_linear = name.endswith(('squeeze.weight', 'excite.weight'))
            return name, value[:, :, None, None] if is_linear else value
    raise ValueError(f'{key!r} is not a key of a released attention cell. Known prefixes: {", ".join(prefixes)}.')


def _operations(normal: Normal) -> dict[tuple[int, int], str]:
    """Edge (source, target) -> primitive, in the order of the pairs. Every edge must be there once."""
    operations: dict[tuple[int, int], str] = {}
    for position, ((name, index), (_, k)) in enumerate(zip(normal, edge_list(_num_groups(len(normal))))):
        if name not in OPERATION_NAMES:
            raise ValueError(f'Unknown operation {name!r}. The release has {", ".join(OPERATION_NAMES)}.')
        if not isinstance(index, int) or not 0 <= index <= k:
            raise ValueError(f'Pair {position}, ({name!r}, {index!r}): node {k} takes indices 0 to {k}.')
        edge = (k if index == 0 else index - 1, k)
        if edge in operations:
            raise ValueError(f'Pair {position}, ({name!r}, {index!r}): node {k} has index {index} twice.')
        operations[edge] = OPERATION_NAMES[name]
    return operations


def _release_edges(groups: int) -> list[tuple[int, int]]:
    """The edges in the order of the released supernet: for each node first F_k, then the earlier nodes."""
    return [(j, k) for k in range(groups) for j in (k, *range(k))]


def _num_groups(edges: int, what: str = 'pairs') -> int:
    for groups in range(1, edges + 1):
        if num_edges(groups) == edges:
            return groups
    raise ValueError(f'{edges} {what}: expected K(K+1)/2, which is 1, 3, 6, 10, ...')


def _normal(text: str) -> list[tuple[str, int]]:
    """The argument ``normal``, a list of (operation, index) pairs, of a call whose arguments start the text."""
    depth, end = 1, 1
    while depth and end < len(text):
        depth += (text[end] in '([{') - (text[end] in ')]}')
        end += 1
    if depth:
        raise ValueError('Genotype(... has no closing parenthesis: the text was cut off.')
    try:
        call: Any = ast.parse(f'Genotype{text[:end]}', mode='eval').body
    except SyntaxError as error:
        raise ValueError(f'Genotype(...) is not valid Python: {error.msg}') from error
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    node = keywords.get('normal', call.args[0] if call.args else None)
    if node is None:
        raise ValueError(f'Genotype(...) has no "normal". It has {sorted(map(str, keywords)) or "no arguments"}.')
    try:
        pairs = ast.literal_eval(node)
    except ValueError as error:
        raise ValueError('"normal" is not a literal list of (operation, index) pairs.') from error
    if not isinstance(pairs, (list, tuple)):
        raise ValueError(f'"normal" is not a list of (operation, index) pairs: {pairs!r}.')
    for position, pair in enumerate(pairs):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(f'"normal", entry {position}: expected (operation, index), not {pair!r}.')
    return list(pairs)
