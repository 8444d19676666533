"""Log how many keys of the HOGA cells a checkpoint matched.

``init_cfg=dict(type='Pretrained')`` and ``load_from`` load with ``strict=False``: with the checkpoint of a plain
network every cell keeps its start, and the log shows this only as a long list of missing keys. So each cell counts its
keys while it is loaded, and one message per load gives the sum. It is a warning if a cell keeps a random start, and not
if the cell is the identity (``start='identity'``).

A cell cannot see where a load ends. The message is logged when an enclosing backbone of :mod:`mmhoga.backbones` has
been loaded, otherwise before the next forward pass of a cell or at the next load.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.genotype import BUILTIN, PRIMITIVES, Genotype, edge_name
from mmhoga.models.operations import OPERATIONS


@dataclass
class Load:
    """Counts of one call of ``load_state_dict``.

    Args:
        missing_keys: the list that all modules share during the call. Its identity tells calls apart, and holding the
            list keeps that identity from being reused.
    """

    missing_keys: list[str]
    backbone: str = ''  # on all its keys
    all_keys: int = 0  # of the backbone
    all_missing: int = 0
    incomplete: list[Callable[[], nn.Module | None]] = field(default_factory=list)  # weak references to cells
    cells: int = 0
    complete: int = 0  # cells
    keys: int = 0  # of all cells
    unmatched: list[str] = field(default_factory=list)
    difference: str = ''
    settings: set[str] = field(default_factory=set)  # without which incomplete cells cannot train fully

    def add_cell(self, cell: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, unmatched: list[str]) -> None:
        self.cells += 1
        self.complete += not unmatched
        self.unmatched += unmatched
        if unmatched:
            self.incomplete.append(weakref.ref(cell))
            self.difference = self.difference or _difference(cell, state_dict, prefix)
            if cell.training and any(isinstance(m, _BatchNorm) and not m.training for m in cell.modules()):
                self.settings.add('norm_eval=False')
            if not cell.training and not any(parameter.requires_grad for parameter in cell.parameters()):
                self.settings.add('frozen_stages=-1')

    def log(self) -> None:
        level, matched = logging.INFO, self.keys - len(self.unmatched)
        text = f'all {self.keys} keys of {self.cells} cells matched{self.backbone}.'
        if self.incomplete and all(is_identity(cell()) for cell in self.incomplete):
            level, text = self._identity()
        elif self.unmatched:
            level, reason = logging.WARNING, 'The checkpoint was trained without HOGA, or its keys have another prefix'
            if matched:
                reason = 'The checkpoint was trained with HOGA at other places'
            text = (
                f'{matched} of {self.keys} keys matched; {self.complete} of {self.cells} cells are complete'
                f'{self.backbone}. {self.difference or reason}. The other keys keep their random initialisation '
                f'(first: {self.unmatched[0]}). Expect a large drop in accuracy unless you train for long, or load a '
                'backbone that was trained with this plugin, for example on ImageNet.'
            )
            if self.settings:
                text += f' Otherwise set {" and ".join(sorted(self.settings))}, so that all of each cell can train.'
        print_log(f'HOGA weights: {text}', logger='current', level=level)

    def _identity(self) -> tuple[int, str]:
        text = f'{len(self.incomplete)} of {self.cells} cells are not in the checkpoint and start as the identity'
        level, others = logging.INFO, self.all_keys - self.keys  # at most 0 without a backbone that counts
        missing = self.all_missing - len(self.unmatched)
        if others > 0 and missing:
            level = logging.WARNING
            text += f', but only {others - missing} of the {others} other keys of the backbone matched.'
        else:
            text += ': the network computes what the trained one computes'
            text += f'; all {others} other keys of the backbone matched.' if others > 0 else '.'
        if self.settings:
            text += f' To train all of each cell, set {" and ".join(sorted(self.settings))}.'
        return level, text


_pending: Load | None = None  # the load that is under way or not logged yet


def watch_loading(module: nn.Module, *, backbone: bool = False) -> None:
    """Count the keys of a HOGA cell in every load, or those of a backbone, which also ends the load."""
    # The public name of this method is younger than torch 2.0.
    module._register_load_state_dict_pre_hook(partial(_count, backbone), with_module=True)
    if backbone:
        module.register_load_state_dict_post_hook(_report)
    else:
        module.register_forward_pre_hook(_report)


def report_loading() -> None:
    """Log the pending message, if there is one."""
    global _pending
    if _pending is not None:
        load, _pending = _pending, None
        if load.cells:
            load.log()


def _report(*_: Any) -> None:
    report_loading()


def _count(backbone: bool, module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, *arguments: Any) -> None:
    missing_keys = arguments[2]  # after the metadata and strict
    global _pending
    if _pending is None or _pending.missing_keys is not missing_keys:
        report_loading()
        _pending = Load(missing_keys)
    own = {prefix + name: value for name, value in module.state_dict(keep_vars=True).items() if _counts(name)}
    unmatched = [k for k, value in own.items() if k not in state_dict or state_dict[k].shape != value.shape]
    if backbone:
        matched = f'{len(own) - len(unmatched)} of' if unmatched else 'all'
        _pending.backbone = f'; of the whole backbone, {matched} {len(own)} keys matched'
        _pending.all_keys, _pending.all_missing = len(own), len(unmatched)
    else:
        _pending.keys += len(own)
        _pending.add_cell(module, state_dict, prefix, unmatched)


def is_identity(cell: Any) -> bool:
    """Whether a cell was built with ``start='identity'`` and returns its input."""
    return cell is not None and hasattr(cell, 'is_identity') and cell.is_identity()


def _counts(key: str) -> bool:
    return not key.endswith('num_batches_tracked')  # old checkpoints lack it, and no forward pass reads it


def _difference(cell: nn.Module, state_dict: Mapping[str, Tensor], prefix: str) -> str:
    """Why the keys of ``cell`` differ from those in the checkpoint; empty if the checkpoint has no cell there."""
    rows, genotype = stored_operations(state_dict, prefix), getattr(cell, 'genotype', None)
    theirs = [] if f'{prefix}alpha' in state_dict else rows
    ours = [[[name] for name in row] for row in genotype.edges] if genotype else []
    if not rows:
        return ''
    if _fits(genotype, theirs) if genotype else not theirs:
        return 'The cells of the checkpoint have the same genotype, but another width, reduction or set of candidates'
    return f'The checkpoint was trained with another genotype ({_name(theirs)}) than the model has ({_name(ours)})'


def _name(rows: list[list[list[str]]]) -> str:
    if not rows:
        return 'the supernet of a search'
    known = next((name for name, genotype in BUILTIN.items() if _fits(genotype, rows)), None)
    return f'K = {len(rows)}, {known or [[" or ".join(names) or "unknown" for names in row] for row in rows]}'


def stored_operations(state_dict: Mapping[str, Tensor], prefix: str) -> list[list[list[str]]]:
    """For each edge of the cell whose keys begin with ``prefix``, the primitives with these keys; empty without a cell.

    ``none`` and ``skip_connect`` have the same keys, and so have ``se`` and ``se_avgmax``.
    """
    phi = state_dict.get(f'{prefix}phi.0.weight')  # (C, C + C / K, 1, 1)
    if phi is None or phi.dim() != 4 or phi.size(1) <= phi.size(0):
        return []
    channels = phi.size(1) - phi.size(0)
    with torch.device('meta'):  # draws no random numbers
        signatures = {name: _signature(OPERATIONS[name](channels).state_dict()) for name in PRIMITIVES}
    rows = []
    for k in range(phi.size(0) // channels):
        prefixes = [f'{prefix}edges.{edge_name(j, k)}.' for j in range(k + 1)]
        found = [_signature({k[len(p) :]: v for k, v in state_dict.items() if k.startswith(p)}) for p in prefixes]
        rows.append([[name for name in PRIMITIVES if signatures[name] == edge] for edge in found])
    return rows


def _signature(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Keys, with the shapes of what does not depend on the reduction."""
    counted = {k: v for k, v in state_dict.items() if _counts(k) and 'running_' not in k}  # group norms have none
    return {k: v.shape if k.startswith('convs.') else None for k, v in counted.items()}


def _fits(genotype: Genotype, rows: list[list[list[str]]]) -> bool:
    pairs = [(name, names) for edges, row in zip(genotype.edges, rows) for name, names in zip(edges, row)]
    return genotype.num_groups == len(rows) and all(name in names for name, names in pairs)
