"""The names that a checkpoint may contain, and the function of this package that stands for each."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmhoga.compat.checkpoint import arrays
from mmhoga.compat.checkpoint.objects import Maker, Storage, StorageType, Unknown, check, counts, hashable, item_size

# A tensor may repeat its elements with strides of 0. More than this are refused: a copy would fill the memory.
MAX_REPEATED = 2**20


def tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
    *,
    dtype: torch.dtype | None = None,
) -> Any:
    """A tensor that lies within its storage. ``hooks``, functions to call in a backward pass, are left out."""
    if isinstance(storage, Unknown):
        return storage
    check(type(storage) is Storage, 'it has a tensor without a storage')
    if metadata:  # lazily conjugated or negated
        return Unknown('torch.Tensor with metadata')
    kind, numel = storage.dtype, storage.numel
    if dtype is not None:
        check(kind is None and dtype != torch.bool, 'it has a tensor of another type than its storage')
        kind, numel = dtype, numel // item_size(dtype)
    check(kind is not None, 'it has a tensor of an untyped storage')
    assert kind is not None
    size, stride, (offset,) = counts(size, 'size'), counts(stride, 'stride'), counts([offset], 'offset')
    check(len(size) == len(stride), 'it has a tensor with more sizes than strides, or fewer')
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if count else offset - 1
    check(last < numel, f'it has a tensor of size {list(size)} that reaches beyond its {numel} numbers')
    check(count <= max(numel, MAX_REPEATED), f'it has a tensor of size {list(size)} with only {numel} numbers')
    result = torch.empty((0,), dtype=kind, device=storage.memory.device)
    result.set_(storage.memory, offset, size, stride)  # type: ignore[call-overload]
    return result.requires_grad_(requires_grad is True and (kind.is_floating_point or kind.is_complex))


def _tensor_with_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> Any:
    check(isinstance(dtype, torch.dtype), 'it has a tensor whose type is no dtype')
    return tensor(storage, offset, size, stride, grad, hooks, metadata, dtype=dtype)


def parameter(data: Any, requires_grad: Any = True, hooks: Any = None) -> Any:
    if isinstance(data, Unknown):
        return data
    check(type(data) is Tensor, 'it has a parameter without a tensor')
    return nn.Parameter(data.detach(), requires_grad is True)


def _device(kind: Any, index: Any = None) -> torch.device:
    check(type(kind) is str and (index is None or type(index) is int), 'it has a device that is no name and number')
    return torch.device(kind) if index is None else torch.device(kind, index)


def _mapping(kind: type) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        result = kind()
        if type(items) in (list, tuple):  # pairs
            check(all(type(pair) in (list, tuple) and len(pair) == 2 for pair in items), 'it has a broken mapping')
        else:
            check(type(items) in (dict, OrderedDict), 'it has a broken mapping')
            items = list(dict.items(items))
        put = OrderedDict.__setitem__ if kind is OrderedDict else dict.__setitem__
        for key, value in items:
            put(result, hashable(key), value)
        return result

    return make


def _elements(kind: type) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        check(type(items) in (list, tuple), 'it has a set of something else than elements')
        return kind(map(hashable, items))

    return make


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    check(type(real) in (int, float) and type(imaginary) in (int, float), 'it has a broken complex number')
    return complex(real, imaginary)


def _encoded(text: Any, encoding: Any = 'latin1') -> bytes:
    """Bytes, which protocol 2 writes as text."""
    check(type(text) is str and encoding in ('latin1', 'latin-1'), 'it has bytes in an unknown encoding')
    return text.encode('latin1')


def _bytearray(content: Any = b'', encoding: Any = 'latin1') -> bytearray:
    return bytearray(content if type(content) is bytes else _encoded(content, encoding))


def _no_bytes(*arguments: Any) -> bytes:
    check(not arguments, 'it builds bytes from something else than text')
    return b''


_STORAGES = {
    'BFloat16Storage': torch.bfloat16,
    'BoolStorage': torch.bool,
    'ByteStorage': torch.uint8,
    'CharStorage': torch.int8,
    'ComplexDoubleStorage': torch.complex128,
    'ComplexFloatStorage': torch.complex64,
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'IntStorage': torch.int32,
    'LongStorage': torch.int64,
    'ShortStorage': torch.int16,
}
_MAKERS: dict[str, Callable[..., Any]] = {
    '__builtin__.bytearray': _bytearray,
    '__builtin__.bytes': _no_bytes,
    '__builtin__.complex': _complex,
    '__builtin__.frozenset': _elements(frozenset),
    '__builtin__.set': _elements(set),
    '_codecs.encode': _encoded,
    'collections.Counter': _mapping(Counter),
    'collections.OrderedDict': _mapping(OrderedDict),
    'collections.defaultdict': lambda factory=None, items=(): _mapping(dict)(items),  # the factory would be called
    'mmengine.config.config.ConfigDict': _mapping(ConfigDict),
    'mmengine.logging.history_buffer.HistoryBuffer': arrays.new_history,
    'numpy._core.multiarray._reconstruct': arrays.new_array,
    'numpy._core.multiarray.scalar': arrays.scalar,
    'numpy._core.numeric._frombuffer': arrays.from_buffer,
    'numpy.dtype': arrays.dtype,
    'torch.Size': lambda sizes=(): torch.Size(counts(sizes, 'size')),
    'torch._utils._rebuild_parameter': parameter,
    'torch._utils._rebuild_tensor': tensor,
    'torch._utils._rebuild_tensor_v2': tensor,
    'torch._utils._rebuild_tensor_v3': _tensor_with_dtype,
    'torch.device': _device,
}
_NAMES: dict[str, Any] = {
    **{name: Maker(name, make) for name, make in _MAKERS.items()},
    **{str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)},
    **{f'torch.{name}': StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{f'torch.cuda.{name}': StorageType(dtype) for name, dtype in _STORAGES.items()},
    'torch.storage.UntypedStorage': StorageType(None),
}
# Other spellings: Python 3's builtins, numpy 1, older torch.
_NAMES |= {name.replace('__builtin__', 'builtins'): found for name, found in _NAMES.items()}
_NAMES |= {name.replace('numpy._core', 'numpy.core'): found for name, found in _NAMES.items()}


def find(name: str) -> Any:
    """The stand-in for a name in a checkpoint. Nothing is imported or looked up in a module."""
    found = _NAMES.get(name)
    return Unknown(name) if found is None else found
