"""Weights-only loading of mmengine's checkpoints with torch >= 2.6.

mmengine 0.10 calls ``torch.load(path)``, which since torch 2.6 builds only tensors and plain containers unless a global
is allowed by name. An mmengine checkpoint also holds ``HistoryBuffer`` and ``ConfigDict`` objects, numpy arrays and
scalars, and the ``metainfo`` of a data set. Only these types are allowed here; torch refuses a checkpoint with any
other global before it calls anything.

Three names map to something weaker than the original:

* ``getattr``: ``HistoryBuffer`` pickles its methods as ``getattr(HistoryBuffer, 'mean')``, but the real ``getattr``
  could reach every module of the process. :func:`_history_method` returns four methods of this class only.
* ``collections.defaultdict``: a plain dict, the only mapping that torch's loader fills.
* ``bytes``: a function that returns ``b''``. An empty array, such as an empty skeleton in mmpose's metainfo, is pickled
  as a call of ``bytes``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Callable

_HISTORY_METHODS = ('min', 'max', 'current', 'mean')


def _history_method(owner: Any, name: str) -> Callable[..., Any]:
    """Stand-in for ``getattr``, limited to the statistics that mmengine puts into every ``HistoryBuffer``."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in _HISTORY_METHODS:
        raise ValueError(
            f'the checkpoint contains the attribute {name!r} of {owner!r}. Weights-only loading allows only '
            f'{", ".join(_HISTORY_METHODS)} of HistoryBuffer. If you trust the author of the file, load it with '
            'torch.load(path, weights_only=False).'
        )
    return getattr(HistoryBuffer, name)


def _plain_dict(*default_factory: Any) -> dict[Any, Any]:
    return {}


def _no_bytes() -> bytes:
    return b''


def _numpy_globals() -> list[Any]:
    """The globals in pickled arrays and scalars of numbers, booleans and strings, but not of objects or records."""
    import numpy as np

    rebuild_array: Any = np.zeros(0).__reduce__()[0]
    rebuild_scalar: Any = np.float64(0).__reduce__()[0]
    # numpy 2 renamed the module, and a checkpoint may come from any numpy.
    functions = [
        (function, f'{module}.{function.__name__}')
        for function in (rebuild_array, rebuild_scalar)
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
    ]
    # The loader compares the type of a dtype; since numpy 1.25 each kind of dtype has its own class.
    kinds = {type(np.dtype(code)) for code in np.typecodes['All'] if code not in 'OVMm'}
    return [*functions, np.ndarray, np.dtype, *sorted(kinds, key=repr)]


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read mmengine's checkpoints without ``weights_only=False``.

    Idempotent, and without effect before torch 2.6, where ``torch.load`` is not weights-only by default. A global that
    the program has allowed itself keeps its meaning.
    """
    import torch
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version('2.6'):
        return
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    # The builtins are common factories of a defaultdict; torch allows set itself.
    allowed = [HistoryBuffer, ConfigDict, dict, float, int, list, *_numpy_globals()]
    present = torch.serialization.get_safe_globals()
    for original, weaker in ((getattr, _history_method), (defaultdict, _plain_dict), (bytes, _no_bytes)):
        if original not in present:
            allowed.append((weaker, f'{original.__module__}.{original.__qualname__}'))
    torch.serialization.add_safe_globals(allowed)
