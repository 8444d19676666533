"""numpy arrays of numbers, booleans and strings, and mmengine's histories of them. Objects and records are unknown."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

from mmhoga.compat.checkpoint.objects import Pending, Unknown, check, counts

_NUMPY_CODE = re.compile(r'b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU]\d{1,6}')


def dtype(code: Any, align: Any = False, copy: Any = False) -> Unknown:
    if type(code) is str and _NUMPY_CODE.fullmatch(code):
        return Pending('numpy.dtype', _finish_dtype, code)
    return Unknown('numpy.dtype')


def _finish_dtype(pending: Pending, state: Any) -> np.dtype | None:
    plain = type(state) is tuple and len(state) >= 5 and state[1] in ('<', '>', '|', '=') and not any(state[2:5])
    return np.dtype(('' if state[1] == '|' else state[1]) + pending.code) if plain else None


def new_array(owner: Any, shape: Any, code: Any) -> Unknown:
    known = isinstance(owner, Unknown) and owner.name == 'numpy.ndarray'
    return Pending('numpy.ndarray', _finish_array) if known else Unknown('numpy.ndarray')


def _finish_array(_: Pending, state: Any) -> np.ndarray | None:
    check(type(state) is tuple and len(state) == 5, 'it has an array without a shape, type and data')
    _, shape, dtype, fortran, data = state
    return None if isinstance(dtype, Unknown) else array(dtype, shape, data, 'F' if fortran is True else 'C')


def array(dtype: Any, shape: Any, data: Any, order: str = 'C') -> np.ndarray:
    """An array of the numbers or strings in ``data``, which must have exactly their length."""
    shape = counts(shape, 'shape')
    check(isinstance(dtype, np.dtype) and type(data) in (bytes, bytearray), 'it has an array without a type or data')
    length = math.prod(shape) * dtype.itemsize
    check(len(data) == length and dtype.itemsize > 0, f'it has an array of {len(data)} bytes instead of {length}')
    if dtype.kind == 'b':  # numpy counts on bytes of 0 and 1
        values = np.frombuffer(data, np.uint8) != 0
    elif dtype.kind == 'U':
        points = np.frombuffer(data, np.dtype('u4').newbyteorder(dtype.byteorder))
        check(not len(points) or points.max() <= 0x10FFFF, 'it has an array with something else than text')
        values = np.frombuffer(data, dtype)
    else:
        values = np.frombuffer(data, dtype)
    return values.reshape(shape, order=order).copy(order='K')  # type: ignore[call-overload]


def from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """An array in protocol 5."""
    return dtype if isinstance(dtype, Unknown) else array(dtype, shape, data, 'F' if order == 'F' else 'C')


def scalar(dtype: Any, data: Any = b'') -> Any:
    return dtype if isinstance(dtype, Unknown) else array(dtype, (), data)[()]


def new_history(*_: Any) -> Unknown:
    return Pending('mmengine.logging.history_buffer.HistoryBuffer', _finish_history)


def _finish_history(_: Pending, state: Any) -> HistoryBuffer | None:
    check(type(state) is dict, 'it has a HistoryBuffer without its values')
    return history(state.get('_log_history'), state.get('_count_history'), state.get('max_length'))


def history(values: Any, sizes: Any, max_length: Any) -> HistoryBuffer | None:
    """A HistoryBuffer of two arrays ``(N,)``, or None if they are not. Its statistics are those of the class.

    Its own ``__setstate__`` is not called: it puts functions from a file into the class.
    """
    arrays = all(type(x) is np.ndarray and x.ndim == 1 and x.dtype.kind in 'iuf' for x in (values, sizes))
    if not arrays or len(values) != len(sizes) or type(max_length) is not int or max_length < 1:
        return None
    buffer = HistoryBuffer(max_length=max_length)
    buffer._log_history, buffer._count_history = values, sizes
    return buffer
