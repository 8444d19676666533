"""The norms of a cell from ``norm_cfg``, and the norm that a backbone has.

The norms of a cell have 1 to C channels, and those of a supernet are stacked for several edges. So a norm must treat
channels or groups of them apart: batch, group and instance norms do, layer norms do not.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmhoga.models.fast.kernels.norms import NarrowBatchNorm2d
from mmhoga.registry import MODELS

# mmcv has the same names, and needs not be installed.
NORMS: dict[str, type[nn.Module]] = {
    **dict.fromkeys(('BN', 'BN2d'), nn.BatchNorm2d),
    'SyncBN': nn.SyncBatchNorm,
    'GN': nn.GroupNorm,
    **dict.fromkeys(('IN', 'IN2d'), nn.InstanceNorm2d),
}
PER_CHANNEL = (_BatchNorm, nn.GroupNorm, _InstanceNorm)


def build_norm(
    norm_cfg: Mapping[str, Any] | None, channels: int, edges: int = 1, *, affine: bool = True, **defaults: Any
) -> nn.Module:
    """A norm for ``edges * channels`` maps.

    Args:
        norm_cfg: as for mmcv, ``dict(type='SyncBN')`` or ``dict(type='GN', num_groups=32)``; None is a batch norm. The
            groups of a group norm become the greatest common divisor of ``num_groups`` and ``channels``.
        channels: of one edge.
        edges: the number of edges whose norms are stacked.
        affine: whether the norm has a scale and a shift.
        defaults: the settings of a batch norm that differ from those of torch, such as ``momentum``.

    Raises:
        ValueError: see :func:`norm_class`; settings that the class does not take.
    """
    kind = norm_class(norm_cfg)
    settings = {key: value for key, value in (norm_cfg or {}).items() if key not in ('type', 'requires_grad')}
    if issubclass(kind, nn.GroupNorm):
        groups = edges * math.gcd(settings.pop('num_groups'), channels)
        settings.update(num_groups=groups, num_channels=edges * channels)
    else:
        settings['num_features'] = edges * channels
        if issubclass(kind, _BatchNorm):
            settings = {**defaults, **settings}
    try:
        norm = (NarrowBatchNorm2d if kind is nn.BatchNorm2d else kind)(**settings, affine=affine)
    except TypeError as error:
        raise ValueError(f'norm_cfg={dict(norm_cfg or {})} cannot be built: {error}.') from error
    if not (norm_cfg or {}).get('requires_grad', True):
        norm.requires_grad_(False)
    return norm


def norm_class(norm_cfg: Any) -> type[nn.Module]:
    """The class of a ``norm_cfg``.

    Raises:
        ValueError: it is no dict with a ``type``, the type is unknown or no batch, group or instance norm, a group norm
            lacks ``num_groups``, or ``affine`` is set, which the cell decides.
    """
    if norm_cfg is None:
        return nn.BatchNorm2d
    if not isinstance(norm_cfg, Mapping) or 'type' not in norm_cfg:
        raise ValueError(f"norm_cfg must be a dict with a type, such as dict(type='SyncBN'), not {norm_cfg!r}.")
    name = norm_cfg['type']
    kind: Any = (NORMS.get(name) or MODELS.get(name)) if isinstance(name, str) else name
    if not (inspect.isclass(kind) and issubclass(kind, PER_CHANNEL)):
        raise ValueError(
            f'norm_cfg has the type {name!r}, but the norms of a cell are one of {", ".join(NORMS)}, or another class '
            "of batch, group or instance norms. Give the cell such a norm: cfg=dict(type='mmhoga.HOGA', "
            "norm_cfg=dict(type='BN'))."
        )
    groups = norm_cfg.get('num_groups')
    if issubclass(kind, nn.GroupNorm) and (isinstance(groups, bool) or not isinstance(groups, int) or groups < 1):
        raise ValueError(f'norm_cfg={dict(norm_cfg)} needs num_groups, an integer of at least 1.')
    if 'affine' in norm_cfg:
        raise ValueError(f'norm_cfg={dict(norm_cfg)} sets affine, which the cell decides. Leave it out.')
    return kind


def inherited(norm_cfg: Any) -> dict[str, Any] | None:
    """The ``norm_cfg`` of a cell in a backbone with ``norm_cfg``: its type and ``num_groups``; None for batch norms.

    The other settings stay those of the cell. ``requires_grad=False`` freezes trained norms, and those of a cell are
    new. A cell keeps its batch norms in a backbone whose norms it cannot have.
    """
    kept = {key: norm_cfg[key] for key in ('type', 'num_groups') if key in (norm_cfg or {})}
    try:
        return None if norm_class(kept or None) in (nn.BatchNorm2d, NarrowBatchNorm2d) else kept
    except ValueError:
        return None


def norm_of(network: nn.Module) -> dict[str, Any] | None:
    """The norm that most norms of a network are, as :func:`inherited` returns it."""
    kinds = Counter(_kind(module) for module in network.modules() if isinstance(module, (*PER_CHANNEL, nn.LayerNorm)))
    name, groups = max(kinds, key=kinds.__getitem__, default=('BN', 0))
    return inherited({'type': name, 'num_groups': groups} if groups else {'type': name})


def _kind(norm: nn.Module) -> tuple[str, int]:
    """Type and number of groups of a ``norm_cfg``; BN for what a cell does not inherit."""
    if isinstance(norm, nn.GroupNorm):
        return 'GN', norm.num_groups
    return ('SyncBN' if isinstance(norm, nn.SyncBatchNorm) else 'BN'), 0


def with_norm(cell: Mapping[str, Any], norm_cfg: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config of a cell, with this norm if its class inherits such a norm and the config sets none."""
    kind = MODELS.get(cell['type']) if isinstance(cell.get('type'), str) else cell.get('type')
    if norm_cfg and 'norm_cfg' not in cell and issubclass(norm_class(norm_cfg), getattr(kind, 'inherited_norms', ())):
        return {**cell, 'norm_cfg': norm_cfg}
    return dict(cell)


def log_norms(backbone: nn.Module, norm_cfg: Mapping[str, Any] | None) -> None:
    """Log once for a backbone with ``norm_cfg`` which norms its cells have, unless the backbone has batch norms."""
    cells: list[Any] = [module for module in backbone.modules() if hasattr(module, 'inherited_norms')]
    name = (norm_cfg or {}).get('type', 'BN')
    if not cells or name in ('BN', 'BN2d', nn.BatchNorm2d):
        return
    same = sum((cell.norm_cfg or {}).get('type') == name for cell in cells)
    others = '' if same == len(cells) else ' The others have what their own norm_cfg sets, or batch norms.'
    print_log(f'{same} of {len(cells)} cells of {type(backbone).__name__} have its norm, {name}.{others}', 'current')
