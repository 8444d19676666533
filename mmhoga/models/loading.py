"""Say aloud what a checkpoint held for HOGA.

``init_cfg=dict(type='Pretrained')`` and ``load_from`` load with ``strict=False``: weights of a plain ResNet go into
one with HOGA, whose cells keep their random start, and the log shows it only as one more wall of missing keys. So every
cell counts its own keys while it is loaded, and one message sums up the load: a warning if anything is missing.

A load has no end that a cell could see. The message comes when an enclosing :class:`mmhoga.backbones.ResNet` has been
loaded, else with the first forward pass or the next load.
"""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass, field
from typing import Any

from mmengine.logging import print_log
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.models.recognition import describe, describe_state


@dataclass
class CellLoad:
    """How one cell fared: ``matched`` of ``total`` keys were there with the right shape.

    ``found`` describes the cell that the checkpoint has in its place, if it has one and that is another.
    """

    cell: weakref.ref[nn.Module]
    matched: int
    total: int
    first_missing: str
    found: str | None


@dataclass
class LoadingReport:
    """What one call of ``load_state_dict`` brought, cell by cell.

    Args:
        load: the call's list of missing keys, which all modules of one call share: its identity tells calls apart, and
            holding it keeps the identity from being used again.
        backbone: keys that matched, and all keys, of the ResNet around the cells, if it is one of ours.
    """

    load: list[str]
    backbone: tuple[int, int] | None = None
    cells: list[CellLoad] = field(default_factory=list)
    triggers: list[ForwardTrigger] = field(default_factory=list)

    def add(self, cell: nn.Module, state_dict: dict[str, Any], prefix: str) -> None:
        """Count what ``state_dict`` has for a cell whose keys begin with ``prefix``."""
        total, missing = _missing(cell, state_dict, prefix)
        first = missing[0] if missing else ''
        found = describe_state(state_dict, prefix) if missing else None
        self.cells.append(CellLoad(weakref.ref(cell), total - len(missing), total, first, found))
        self.triggers.append(ForwardTrigger(cell))

    @property
    def complete(self) -> bool:
        return all(cell.matched == cell.total for cell in self.cells)

    def message(self) -> str:
        """One paragraph for the log."""
        matched, total = (sum(getattr(c, key) for c in self.cells) for key in ('matched', 'total'))
        if self.complete:
            return f'HOGA weights: all {total} keys of {len(self.cells)} cells matched{self._whole_backbone()}.'
        whole = sum(cell.matched == cell.total for cell in self.cells)
        first = next(cell.first_missing for cell in self.cells if cell.first_missing)
        if matched == 0:
            why = 'The checkpoint was trained without HOGA, or its keys have another prefix'
        else:
            why = self._other_genotype() or 'The checkpoint was trained with HOGA at other places'
        return (
            f'HOGA weights: {matched} of {total} keys matched; {whole} of {len(self.cells)} cells are complete'
            f'{self._whole_backbone()}. {why}. '
            f'What did not match keeps its random initialisation (first: {first}). Expect a large drop in accuracy '
            'unless it is trained at length: better load a checkpoint of a backbone that was trained with this very '
            f'plugin, on ImageNet for example.{self._frozen()}'
        )

    def _whole_backbone(self) -> str:
        if self.backbone is None:
            return ''
        matched, total = self.backbone
        return f'; of the whole backbone, {"all" if matched == total else f"{matched} of"} {total} keys matched'

    def _other_genotype(self) -> str | None:
        """Both genotypes by name, of the first cell that met another one."""
        for load in self.cells:
            cell = load.cell()
            if load.found is not None and cell is not None:
                genotype = getattr(cell, 'genotype', None)
                own = describe(genotype) if genotype is not None else 'the supernet of a search'
                return f'The checkpoint was trained with another genotype ({load.found}) than the model has ({own})'
        return None

    def _frozen(self) -> str:
        unmatched = [load.cell() for load in self.cells if load.matched < load.total]
        cells = [cell for cell in unmatched if cell is not None]
        frozen = [c for c in cells if not c.training and not any(p.requires_grad for p in c.parameters())]
        still = [
            cell
            for cell in cells
            if cell.training and any(isinstance(m, _BatchNorm) and not m.training for m in cell.modules())
        ]
        notes = []
        if frozen:
            notes.append(f'{len(frozen)} of these cells are frozen for good (frozen_stages)')
        if still:
            notes.append(f'in {len(still)} the batch norms keep their statistics (norm_eval=True)')
        if not notes:
            return ''
        return f' Worse, {", and ".join(notes)}: without such a checkpoint, set frozen_stages=-1 and norm_eval=False.'

    def emit(self) -> None:
        """Log the message and detach from the cells."""
        for trigger in self.triggers:
            trigger.remove()
        level = logging.INFO if self.complete else logging.WARNING
        print_log(self.message(), logger='current', level=level)


def _missing(module: nn.Module, state_dict: dict[str, Any], prefix: str) -> tuple[int, list[str]]:
    """How many keys a module has, and those that ``state_dict`` lacks or has in another shape."""
    own = {
        prefix + name: value
        for name, value in module.state_dict(keep_vars=True).items()
        # A counter that no forward pass reads, and that old checkpoints lack.
        if not name.endswith('num_batches_tracked')
    }
    return len(own), [k for k, value in own.items() if k not in state_dict or state_dict[k].shape != value.shape]


class ForwardTrigger:
    """A forward pre-hook that reports once and takes itself off; a copied cell gets a copy of its own."""

    def __init__(self, cell: nn.Module) -> None:
        self._handle = cell.register_forward_pre_hook(self)

    def __call__(self, cell: nn.Module, args: Any) -> None:
        self.remove()
        report_loading()

    def remove(self) -> None:
        self._handle.remove()


# The load that is under way or has not been reported yet.
_pending: LoadingReport | None = None


def watch_loading(cell: nn.Module) -> None:
    """Have every load of ``cell`` counted; called by HOGA cells when they are built."""
    # The public name of this method is younger than the torch releases that mmcv 2.1 is used with.
    cell._register_load_state_dict_pre_hook(_count, with_module=True)


def report_when_loaded(module: nn.Module) -> None:
    """Report on the cells inside the backbone ``module``, and on all its keys, as soon as it has been loaded."""
    module._register_load_state_dict_pre_hook(_count_backbone, with_module=True)
    module.register_load_state_dict_post_hook(_report)


def report_loading() -> None:
    """Log what the last load brought, if that has not been said yet."""
    global _pending
    if _pending is not None:
        report, _pending = _pending, None
        if report.cells:
            report.emit()


def _count(
    cell: nn.Module,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: dict,
    strict: bool,
    missing_keys: list[str],
    *_: Any,
) -> None:
    _report_of(missing_keys).add(cell, state_dict, prefix)


def _count_backbone(
    backbone: nn.Module,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: dict,
    strict: bool,
    missing_keys: list[str],
    *_: Any,
) -> None:
    total, missing = _missing(backbone, state_dict, prefix)
    _report_of(missing_keys).backbone = total - len(missing), total


def _report_of(load: list[str]) -> LoadingReport:
    """The report on the load with this list of missing keys; one on another load is due now."""
    global _pending
    if _pending is None or _pending.load is not load:
        report_loading()
        _pending = LoadingReport(load)
    return _pending


def _report(module: nn.Module, incompatible_keys: Any) -> None:
    report_loading()
