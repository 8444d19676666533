"""Log how many keys of the HOGA cells a checkpoint matched.

``init_cfg=dict(type='Pretrained')`` and ``load_from`` load with ``strict=False``: with the checkpoint of a plain
network every cell keeps its random start, and the log shows this only as a long list of missing keys. So each cell
counts its keys while it is loaded, and one message per load gives the sum, as a warning unless all of them matched.

A cell cannot see where a load ends. The message is logged when an enclosing backbone of :mod:`mmhoga.backbones` has
been loaded, otherwise before the next forward pass of a cell or at the next load.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class Load:
    """Counts of one call of ``load_state_dict``.

    Args:
        missing_keys: the list that all modules share during the call. Its identity tells calls apart, and holding the
            list keeps that identity from being reused.
    """

    missing_keys: list[str]
    backbone: str = ''  # on all its keys
    cells: int = 0
    complete: int = 0  # cells
    keys: int = 0  # of all cells
    unmatched: list[str] = field(default_factory=list)
    difference: str = ''
    settings: set[str] = field(default_factory=set)  # without which incomplete cells cannot train fully


_pending: Load | None = None  # the load that is under way or not logged yet


def watch_loading(module: nn.Module, *, backbone: bool = False) -> None:
    """Count the keys of a HOGA cell in every load, or those of a backbone, which also ends the load."""
    # The public name of this method is younger than torch 2.0.
    module._register_load_state_dict_pre_hook(partial(_count, backbone), with_module=True)
    if backbone:
        module.register_load_state_dict_post_hook(report_loading)
    else:
        module.register_forward_pre_hook(report_loading)


def report_loading(*_: Any) -> None:
    """Log the pending message, if there is one. As a hook it ignores its arguments."""
    global _pending
    load, _pending = _pending, None
    if load is None or not load.cells:
        return
    level, matched = logging.INFO, load.keys - len(load.unmatched)
    text = f'all {load.keys} keys of {load.cells} cells matched{load.backbone}.'
    if load.unmatched:
        level, reason = logging.WARNING, 'The checkpoint was trained without HOGA, or its keys have another prefix'
        if matched:
            reason = 'The checkpoint was trained with HOGA at other places'
        text = (
            f'{matched} of {load.keys} keys matched; {load.complete} of {load.cells} cells are complete'
            f'{load.backbone}. {load.difference or reason}. The other keys keep their random initialisation '
            f'(first: {load.unmatched[0]}). Expect a large drop in accuracy unless you train for long, or load a '
            'backbone that was trained with this plugin, for example on ImageNet.'
        )
        if load.settings:
            text += f' Otherwise set {" and ".join(sorted(load.settings))}, so that all of each cell can train.'
    print_log(f'HOGA weights: {text}', logger='current', level=level)


def _count(backbone: bool, module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, *arguments: Any) -> None:
    missing_keys = arguments[2]  # after the metadata and strict
    global _pending
    if _pending is None or _pending.missing_keys is not missing_keys:
        report_loading()
        _pending = Load(missing_keys)
    own = {prefix + name: value for name, value in module.state_dict(keep_vars=True).items()}
    # Old checkpoints lack the counters of batch norms, and no forward pass reads them.
    shapes = {key: value.shape for key, value in own.items() if not key.endswith('num_batches_tracked')}
    unmatched = [key for key, shape in shapes.items() if key not in state_dict or state_dict[key].shape != shape]
    if backbone:
        matched = f'{len(shapes) - len(unmatched)} of' if unmatched else 'all'
        _pending.backbone = f'; of the whole backbone, {matched} {len(shapes)} keys matched'
        return
    _pending.cells += 1
    _pending.keys += len(shapes)
    _pending.complete += not unmatched
    _pending.unmatched += unmatched
    if not unmatched:
        return
    phi = f'{prefix}phi.0.weight'  # C rows; if the checkpoint has it, it has a cell here
    if phi in state_dict and phi in shapes:
        kind = 'width' if len(state_dict[phi]) != shapes[phi][0] else 'genotype, reduction or set of candidates'
        _pending.difference = f'The cells of the checkpoint have another {kind} than those of the model'
    if module.training and any(isinstance(m, _BatchNorm) and not m.training for m in module.modules()):
        _pending.settings.add('norm_eval=False')
    if not module.training and not any(parameter.requires_grad for parameter in module.parameters()):
        _pending.settings.add('frozen_stages=-1')
