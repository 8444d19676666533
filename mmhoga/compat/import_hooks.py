"""Finders in ``sys.meta_path``, which load neither torch nor a host: for ``mmcv._ext``, mmdet's SSD and checkpoints.

``mmcv.ops`` asserts that ``mmcv._ext`` has every operation by name. The stand-in's finder is the last, so a compiled
module comes first, and a broken one raises its own error.

mmdet 3.3's SSD cannot predict: ``'SSDHead' object has no attribute 'loss_cls'``. The base class reads an option of
``self.loss_cls``, which SSDHead never sets because it computes its loss itself
(https://github.com/open-mmlab/mmdetection/issues/11780). The repair adds ``loss_cls = None`` to SSDHead when mmdet's
module is imported. A subclass that sets ``loss_cls`` keeps it.

mmengine's module for checkpoints reads and writes them with :mod:`mmhoga.compat.checkpoint` once it is imported. The
module is changed and not the calls in the hosts, so this holds whichever of a host's functions is called first.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

SSD_HEAD = 'mmdet.models.dense_heads.ssd_head'
CHECKPOINTS = 'mmengine.runner.checkpoint'


class _StandInLoader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        from mmhoga.compat.mmcv_ops import OPERATIONS

        module.__doc__ = 'Stand-in of mmhoga for the compiled operations of mmcv.'
        vars(module).update(OPERATIONS, __getattr__=_missing_operation)


class _StandInFinder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != 'mmcv._ext':
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


class _LossOrNone:
    """The submodule ``loss_cls`` of the head, or None if it has none."""

    def __get__(self, head: Any, owner: type) -> Any:
        return None if head is None else head.__dict__['_modules'].get('loss_cls')


def _repair_ssd_head(module: ModuleType) -> None:
    module.SSDHead.loss_cls = _LossOrNone()  # type: ignore[attr-defined]


def _use_safe_files(module: ModuleType) -> None:
    from mmhoga.compat.checkpoint.host_files import use_safe_files

    use_safe_files(module)


class _RepairingFinder(MetaPathFinder):
    """Finds one module through the other finders and repairs it after its execution."""

    def __init__(self, name: str, repair: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.repair = repair

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self.repair(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _repair(name: str, repair: Callable[[ModuleType], None]) -> None:
    """Repair a module now if it is already imported, otherwise once it is. Idempotent."""
    if name in sys.modules:
        repair(sys.modules[name])
    elif not any(isinstance(finder, _RepairingFinder) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _RepairingFinder(name, repair))


def repair_ssd_head() -> None:
    """Give mmdet's SSDHead the attribute ``loss_cls``."""
    _repair(SSD_HEAD, _repair_ssd_head)


def protect_checkpoints() -> None:
    """Have mmengine read and write checkpoints with :mod:`mmhoga.compat.checkpoint`."""
    _repair(CHECKPOINTS, _use_safe_files)


def require_mmcv() -> None:
    """Raise an ImportError with the install commands if mmcv is not installed.

    mmcv is published as two distributions with the same files, so mmhoga depends on neither: pip would install one
    over the other.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'mmhoga.backbones needs mmcv, which is not installed. Install the pure Python one, for which mmhoga has '
            'the operations of SSD, RetinaNet, Faster and Mask R-CNN: pip install mmcv-lite==2.1.0\nOr a compiled one: '
            "pip install -U openmim && mim install 'mmcv>=2.0.0,<2.2.0'\nBeside onedl-mmengine: pip install onedl-mmcv"
        )


def require_mmengine() -> None:
    """Raise a ModuleNotFoundError with the install commands if mmengine is not installed, upstream's or the fork."""
    if importlib.util.find_spec('mmengine') is None:
        raise ModuleNotFoundError(
            'mmhoga needs mmengine, which is not installed: pip install mmengine\nOr, with the maintained forks of '
            'OpenMMLab: pip install onedl-mmengine. They have the same files, so install only one.',
            name='mmengine',
        )
