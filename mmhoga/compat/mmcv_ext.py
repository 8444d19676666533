"""A stand-in for ``mmcv._ext``, used when and only when no compiled one can be found.

mmcv's Python side imports ``mmcv._ext`` and asserts that it has every operation by name. The finder below comes
last in ``sys.meta_path``, so it is asked only after every other finder has failed to find a compiled module;
one that is there but broken raises its own error. This module is imported by ``import mmhoga`` and loads
neither torch nor mmcv: the operations in :mod:`mmhoga.compat.mmcv_ops` are imported with the stand-in, which is
when somebody imports ``mmcv.ops``.
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
    """The module's ``__getattr__``: mmcv asks for all names at import, and calls few of them."""
    if name.startswith('__'):
        raise AttributeError(name)

    def operation(*args: Any, **kwargs: Any) -> Any:
        from mmhoga.compat.mmcv_ops import OPERATIONS

        raise NotImplementedError(
            f'mmcv.ops needs the compiled operation {name!r}, but this mmcv has no compiled operations (mmcv-lite has '
            f'none) and mmhoga stands in only for: {", ".join(OPERATIONS)}. Install a compiled mmcv: pip install -U '
            "openmim && mim install 'mmcv>=2.0.0,<2.2.0', with a torch that mmcv publishes wheels for."
        )

    operation.__name__ = name
    return operation


def install_stand_in() -> None:
    """Offer the stand-in to ``import mmcv._ext``. Calling it again changes nothing."""
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(_StandInFinder())


def require_mmcv() -> None:
    """Raise an ``ImportError`` that says what to install if there is no mmcv of any kind.

    mmcv comes as two distributions that exclude each other, so the package depends on neither: pip would put
    one on top of the other.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'mmhoga.backbones needs mmcv, which is not installed. Install one of its two distributions: '
            "'pip install mmcv-lite==2.1.0' (pure Python, works everywhere; mmhoga supplies the operations that SSD, "
            "RetinaNet, Faster and Mask R-CNN need), or the compiled one, 'pip install -U openmim && mim install "
            '"mmcv>=2.0.0,<2.2.0"\'.'
        )
