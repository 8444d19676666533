"""A stand-in for ``mmcv._ext``, used only if there is no compiled module.

``mmcv.ops`` imports ``mmcv._ext`` and asserts that it has every operation by name. The finder below is the last in
``sys.meta_path``, so a compiled module comes first, and a broken one raises its own error. ``import mmhoga`` imports
this module, which loads neither torch nor mmcv; :mod:`mmhoga.compat.mmcv_ops` is imported together with ``mmcv.ops``.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

NAME = 'mmcv._ext'


class _StandInLoader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        from mmhoga.compat.mmcv_ops import OPERATIONS

        module.__doc__ = 'Stand-in of mmhoga for the compiled operations of mmcv.'
        vars(module).update(OPERATIONS, __getattr__=_missing_operation)


class _StandInFinder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        return ModuleSpec(fullname, _StandInLoader(), origin='mmhoga.compat')


def _missing_operation(name: str) -> Callable[..., Any]:
    """The stand-in's ``__getattr__``: importing mmcv.ops looks up every operation, so only a call may fail."""
    if name.startswith('__'):
        raise AttributeError(name)

    def operation(*args: Any, **kwargs: Any) -> Any:
        from mmhoga.compat.mmcv_ops import OPERATIONS

        raise NotImplementedError(
            f'the operation {name!r} of mmcv.ops needs a compiled mmcv. This one is not compiled (mmcv-lite never is), '
            f'and mmhoga replaces only {", ".join(OPERATIONS)}. Install a compiled one, with a torch for which mmcv '
            "has wheels: pip install -U openmim && mim install 'mmcv>=2.0.0,<2.2.0'"
        )

    operation.__name__ = name
    return operation


def install_stand_in() -> None:
    """Make ``import mmcv._ext`` find the stand-in if there is no compiled module. Idempotent."""
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(_StandInFinder())


def require_mmcv() -> None:
    """Raise an ImportError with the install commands if mmcv is not installed.

    mmcv is published as two distributions with the same files, so mmhoga depends on neither: pip would install one
    over the other.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'mmhoga.backbones needs mmcv, which is not installed. Install the pure Python one, for which mmhoga has '
            'the operations of SSD, RetinaNet, Faster and Mask R-CNN: pip install mmcv-lite==2.1.0\nOr a compiled one: '
            "pip install -U openmim && mim install 'mmcv>=2.0.0,<2.2.0'"
        )
