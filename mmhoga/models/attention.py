"""The attentions of timm as plugins, to compare HOGA with."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhoga.registry import MODELS

# For error messages: timm has no list of these names.
NAMES = (
    *('se', 'ese', 'eca', 'ecam', 'ceca', 'ge', 'gc', 'gca', 'cbam', 'lcbam'),
    *('sk', 'splat', 'lambda', 'bottleneck', 'halo', 'nl', 'bat'),
)


@MODELS.register_module()
class Attention(BaseModule):
    """Any attention of ``timm.layers.create_attn``, by its name in timm.

    The paper's baselines in ResNet-50, ``after_conv3``:

    - ``name='se'``: Squeeze-and-Excitation (Hu et al. 2018), reduction 16, biases, no rounding of the squeezed width;
      28.09 M parameters, the paper's figure.
    - ``name='cbam'``: CBAM (Woo et al. 2018), reduction 16, 7x7; 28.07 M (paper: 28.09).
    - ``name='ge', extra_params=True, extent=0, use_mlp=False, feat_size=...``: GE-theta of Gather-Excite (Hu et al.
      2018b), a learned global gather. ``feat_size`` is the size of the map, which takes one plugin per stage and a
      fixed input size. timm pads the map, so that its gather returns a map of almost the same size (12.80 instead of
      4.12 GMACs in ResNet-50). Here it is not padded and gathers one number per channel.
    - ``name='gc'``: the global context of GCNet (Cao et al. 2019) fused by scaling; ``'gca'`` adds it, as GCNet does.

    The source of timm calls its CBAM "sort-of" and reports mixed results with such layers.

    Args:
        name: ``'se'``, ``'cbam'``, ``'ge'``, ``'gc'``, ``'eca'`` or another name of timm.
        kwargs: for the attention, e.g. ``rd_ratio=1 / 8``.

    Raises:
        ImportError: timm is not installed.
        ValueError: an unknown name, or arguments that the attention does not accept.

    Example:
        >>> import torch
        >>> from mmhoga.models import Attention
        >>> Attention(64, name='cbam')(torch.rand(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """

    _abbr_ = 'attention'

    def __init__(self, in_channels: int, *, name: str, **kwargs: Any) -> None:
        super().__init__()
        if name == 'se':  # timm rounds the squeezed width to multiples of 8; the paper of SE does not
            kwargs.setdefault('rd_divisor', 1)
        self.layer = _build(name, in_channels, kwargs)

    def init_weights(self) -> None:
        """Restore the initialisation of timm, which the ``init_cfg`` of the backbone has overwritten."""
        super().init_weights()
        reset: Any = getattr(self.layer, 'reset_parameters', None)
        if reset is not None:
            reset()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        return self.layer(x)


def _build(name: str, in_channels: int, kwargs: dict[str, Any]) -> nn.Module:
    try:
        from timm.layers import get_attn
    except ImportError as error:
        message = f'The attention {name!r} comes from timm, which is not installed: pip install mmhoga[attention]'
        raise ImportError(message) from error
    try:
        factory = get_attn(name) if isinstance(name, str) else None
    except AssertionError:
        factory = None
    if factory is None:
        similar = difflib.get_close_matches(str(name), NAMES, n=3, cutoff=0.5)
        hint = f'Did you mean {" or ".join(map(repr, similar))}? ' if similar else ''
        raise ValueError(f'timm has no attention {name!r}. {hint}It has: {", ".join(NAMES)}.')
    try:
        layer = factory(in_channels, **kwargs)
    except (TypeError, ValueError, AssertionError) as error:
        parameters = list(inspect.signature(factory).parameters.values())[1:]
        raise ValueError(
            f'The attention {name!r} of timm cannot be built for {in_channels} channels with {kwargs}: {error}. '
            f'It accepts: {", ".join(map(str, parameters))}.'
        ) from error
    if name == 'ge' and layer.extent == 0 and layer.gather is not None:
        layer.gather.conv1.padding = (0, 0)
    return layer
