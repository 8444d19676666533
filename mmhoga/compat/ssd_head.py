"""Repair of mmdet 3.3's SSD, which cannot predict: ``'SSDHead' object has no attribute 'loss_cls'``.

The base class reads an option of ``self.loss_cls``, which SSDHead never sets because it computes its loss itself
(https://github.com/open-mmlab/mmdetection/issues/11780). The repair adds ``loss_cls = None`` to SSDHead when mmdet's
module is imported. A subclass that sets ``loss_cls`` keeps it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = 'mmdet.models.dense_heads.ssd_head'


class _LossOrNone:
    """The submodule ``loss_cls`` of the head, or None if it has none."""

    def __get__(self, head: Any, owner: type) -> Any:
        return None if head is None else head.__dict__['_modules'].get('loss_cls')


def _repair(module: ModuleType) -> None:
    module.SSDHead.loss_cls = _LossOrNone()  # type: ignore[attr-defined]


class _RepairingFinder(MetaPathFinder):
    """Finds the module through the other finders and repairs it after its execution."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _repair(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def repair_ssd_head() -> None:
    """Repair SSDHead now if it is already imported, otherwise once it is. Idempotent."""
    if NAME in sys.modules:
        _repair(sys.modules[NAME])
    elif not any(isinstance(finder, _RepairingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RepairingFinder())
