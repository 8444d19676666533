"""Checkpoints in types that ``torch.load(weights_only=True)`` reads, and back.

mmengine puts ``HistoryBuffer``, ``ConfigDict`` and numpy arrays into a checkpoint. A plain checkpoint has a dict, a
dict and a tensor in their place, and their places in the list ``mmhoga_types``, from which :func:`with_types` restores
them exactly. numpy scalars become Python's numbers, and a defaultdict becomes a dict.

A reader that knows nothing of this gets the weights unchanged, tensors in place of arrays, and histories that mmengine
skips with a warning.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmhoga.compat.checkpoint.arrays import history
from mmhoga.compat.checkpoint.objects import Unknown, hashable

TYPES = 'mmhoga_types'
_ARRAY, _HISTORY, _CONFIG = 'numpy.ndarray', 'HistoryBuffer', 'ConfigDict'


def plain_checkpoint(checkpoint: Any) -> Any:
    """A copy in plain types. What has none stays as it is. Containers without any of these types are not copied."""
    if not isinstance(checkpoint, dict) or TYPES in checkpoint:
        return checkpoint
    types: list[tuple[list[Any], str]] = []
    try:
        result = _plain(checkpoint, [], types)
    except RecursionError:  # it contains itself
        return checkpoint
    if types:
        result = copy.copy(result)
        result[TYPES] = types
    return result


def _plain(value: Any, place: list[Any], types: list[tuple[list[Any], str]]) -> Any:
    if isinstance(value, np.generic):
        number = value.item()
        return number if type(number) in (bool, int, float, complex, str, bytes) else value
    if isinstance(value, Unknown):
        return repr(value)
    if type(value) is np.ndarray:
        plain, kind = _tensor(value), _ARRAY
    elif type(value) is HistoryBuffer:
        arrays = [_tensor(x) for x in value.data]
        whole = all(isinstance(x, Tensor) for x in arrays)
        plain = {'values': arrays[0], 'counts': arrays[1], 'max_length': value.max_length} if whole else value
        kind = _HISTORY
    elif type(value) is ConfigDict:
        plain, kind = {key: _plain(x, [*place, key], types) for key, x in dict.items(value)}, _CONFIG
    elif type(value) in (dict, OrderedDict, defaultdict):
        items = {key: _plain(x, [*place, key], types) for key, x in value.items()}
        if type(value) is not defaultdict and all(items[key] is x for key, x in value.items()):
            return value
        result = {} if type(value) is defaultdict else copy.copy(value)  # with the _metadata of a state_dict
        result.update(items)
        return result
    elif type(value) in (list, tuple):
        parts = [_plain(x, [*place, i], types) for i, x in enumerate(value)]
        return value if all(a is b for a, b in zip(parts, value)) else type(value)(parts)
    else:
        return value
    if plain is not value:
        types.append((place, kind))
    return plain


def _tensor(array: np.ndarray) -> Any:
    """A tensor that owns its numbers, or the array if torch has no such type."""
    try:
        return torch.from_numpy(array.copy(order='C'))
    except (TypeError, ValueError):  # no such type, or the bytes in another order
        return array


def with_types(checkpoint: Any) -> Any:
    """Restore the types of a plain checkpoint. Other checkpoints are returned as they are.

    Every value is checked, because the list comes from the file. A value that does not fit its type stays plain.
    """
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(TYPES), list):
        return checkpoint
    for place, kind in checkpoint.pop(TYPES):  # parts are listed before the dict that contains them
        _restore(checkpoint, place, kind)
    return checkpoint


def _restore(node: Any, place: Any, kind: Any) -> Any:
    """Restore the value at ``place`` below ``node`` and return the node: another one if it is a tuple."""
    if not place:
        return _typed(node, kind)
    key, rest = hashable(place[0]), place[1:]
    if isinstance(node, dict):
        dict.__setitem__(node, key, _restore(dict.__getitem__(node, key), rest, kind))
    elif isinstance(node, list):
        node[key] = _restore(node[key], rest, kind)
    elif type(node) is tuple:
        parts = list(node)
        parts[key] = _restore(parts[key], rest, kind)
        return tuple(parts)
    return node


def _typed(value: Any, kind: Any) -> Any:
    if kind == _ARRAY and type(value) is Tensor:
        return value.detach().cpu().numpy()
    if kind == _HISTORY and type(value) is dict:
        values, counts = (_typed(value.get(name), _ARRAY) for name in ('values', 'counts'))
        return history(values, counts, value.get('max_length')) or value
    if kind == _CONFIG and type(value) is dict:
        config = ConfigDict()
        dict.update(config, value)
        return config
    return value
