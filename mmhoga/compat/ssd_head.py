"""mmdet 3.3's SSD trains but cannot predict: ``'SSDHead' object has no attribute 'loss_cls'``.

Its base class asks ``self.loss_cls`` for an option that SSD's head, which computes its loss by itself, never
sets (https://github.com/open-mmlab/mmdetection/issues/11780). Here the question gets an answer, None, once
mmdet's module is imported, by whomever. A subclass that does set ``loss_cls`` keeps it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = 'mmdet.models.dense_heads.ssd_head'


class _LossOrNone:
    """What ``loss_cls`` is when the instance has no such submodule."""

    def __get__(self, head: Any, owner: type) -> Any:
        return None if head is None else head.__dict__['_modules'].get('loss_cls')


def _repair(module: ModuleType) -> None:
    module.SSDHead.loss_cls = _LossOrNone()  # type: ignore[attr-defined]


class _RepairingFinder(MetaPathFinder):
    """Finds one module as the other finders do, and repairs it when it has been executed."""

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
    """Repair the head now if it is imported, otherwise when it will be. Calling this again changes nothing."""
    if NAME in sys.modules:
        _repair(sys.modules[NAME])
    elif not any(isinstance(finder, _RepairingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RepairingFinder())
