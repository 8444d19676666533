"""Weights-only loading of mmengine's checkpoints on torch >= 2.6.

mmengine 0.10 calls ``torch.load(path)``, which since torch 2.6 builds nothing but tensors and plain containers
unless a global is allowed by name. An mmengine checkpoint holds more: the message hub's ``HistoryBuffer`` and
numpy arrays and scalars, and whatever a dataset's ``metainfo`` holds. Those, and only those, are allowed here;
a checkpoint that names anything else is still refused before anything of it is called.

Three names are answered by something weaker than what they stand for. ``HistoryBuffer`` pickles its methods as
``getattr(HistoryBuffer, 'mean')``, and a real ``getattr`` would reach every module of the process: it is
answered by :func:`_history_method`, which knows four methods of one class. ``collections.defaultdict`` is
answered by a plain dict, the only mapping that torch's loader fills. ``bytes`` is how the content of an empty array
is pickled (mmpose's datasets without a skeleton have some): it is answered by what returns no bytes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Callable

_FACTORIES = (dict, float, int, list)
"""What a ``defaultdict`` is usually made with; ``set`` is known to torch already."""
_HISTORY_METHODS = ('min', 'max', 'current', 'mean')


def _history_method(owner: Any, name: str) -> Callable[..., Any]:
    """All that is left of ``getattr``: the statistics that mmengine puts into every ``HistoryBuffer``."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in _HISTORY_METHODS:
        raise ValueError(
            f'the checkpoint asks for the attribute {name!r} of {owner!r}. Weights-only loading allows '
            f'{", ".join(_HISTORY_METHODS)} of HistoryBuffer and nothing else; load files of this kind only if you '
            'trust whoever wrote them, with torch.load(path, weights_only=False).'
        )
    return getattr(HistoryBuffer, name)


def _plain_dict(*default_factory: Any) -> dict[Any, Any]:
    return {}


def _no_bytes() -> bytes:
    return b''


def _numpy_globals() -> list[Any]:
    """What arrays and scalars of numbers, truth values and strings are pickled as; no objects, no records."""
    import numpy as np

    rebuild_array: Any = np.zeros(0).__reduce__()[0]
    rebuild_scalar: Any = np.float64(0).__reduce__()[0]
    # numpy 2 renamed the module: a checkpoint may come from either side.
    functions = [
        (function, f'{module}.{function.__name__}')
        for function in (rebuild_array, rebuild_scalar)
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
    ]
    # The loader compares the type of a dtype instance, which since numpy 1.25 is a class of its own for each kind.
    kinds = {type(np.dtype(code)) for code in np.typecodes['All'] if code not in 'OVMm'}
    return [*functions, np.ndarray, np.dtype, *sorted(kinds, key=repr)]


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read mmengine's checkpoints without ``weights_only=False``.

    Does nothing before torch 2.6, whose ``torch.load`` is not weights-only, and nothing the second time. A name
    that the program has allowed by itself keeps its meaning.
    """
    import torch
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version('2.6'):
        return
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    allowed = [HistoryBuffer, ConfigDict, *_FACTORIES, *_numpy_globals()]
    present = torch.serialization.get_safe_globals()
    for original, weaker in ((getattr, _history_method), (defaultdict, _plain_dict), (bytes, _no_bytes)):
        if original not in present:
            allowed.append((weaker, f'{original.__module__}.{original.__qualname__}'))
    torch.serialization.add_safe_globals(allowed)
