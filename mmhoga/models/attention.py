"""The attentions of timm as plugins, to compare HOGA with."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhoga.models.arguments import check_integers
from mmhoga.models.loading import watch_loading
from mmhoga.models.norms import norm_class
from mmhoga.models.start import Blend, check_start, is_zero, zero
from mmhoga.registry import MODELS

# For error messages: timm has no list of these names.
NAMES = (
    *('se', 'ese', 'eca', 'ecam', 'ceca', 'ge', 'gc', 'gca', 'cbam', 'lcbam'),
    *('sk', 'splat', 'lambda', 'bottleneck', 'halo', 'nl', 'bat'),
)


# For the identity: layers that compute the logits of a gate, which becomes sigmoid(0) = 1/2 when they are 0, and layers
# that compute an added term. Of a name's layers, those that its arguments build.
GATES = {
    'se': ('fc2',),
    'ese': ('fc',),
    'eca': ('conv',),
    'ecam': ('conv2',),
    'ceca': ('conv',),
    'ge': ('mlp.fc2',),
    'gc': ('mlp_scale.fc2',),
    'gca': ('mlp_scale.fc2',),
    'cbam': ('channel.fc2', 'spatial.conv.bn'),
    'lcbam': ('channel.fc2', 'spatial.conv.bn'),
}
ADDED = {'gc': ('mlp_add.fc2',), 'gca': ('mlp_add.fc2',), 'nl': ('norm',)}


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
        start: ``'random'``, timm's own, or ``'identity'``: the attention starts as ``out = x``, for a network that is
            already trained. The logits of each gate start at 0, and the output is multiplied by 2 per gate: 2 for
            ``se``, ``eca``, ``ge`` and ``gc``, 4 for ``cbam``. An attention without a gate or an added term becomes
            ``x + scale * (A(x) - x)`` with a learned ``scale`` that starts at 0.
        norm_cfg: ``dict(type='SyncBN')`` synchronises the batch norms; timm has no other choice in common. Like HOGA,
            the attention takes it from a backbone with ``SyncBN``.
        kwargs: for the attention, e.g. ``rd_ratio=1 / 8``.

    Raises:
        ImportError: timm is not installed.
        ValueError: an unknown name, ``start`` or norm, or arguments that the attention does not accept.

    Example:
        >>> import torch
        >>> from mmhoga.models import Attention
        >>> Attention(64, name='cbam')(torch.rand(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """

    _abbr_ = 'attention'
    inherited_norms = (nn.SyncBatchNorm,)

    def __init__(
        self,
        in_channels: int,
        *,
        name: str,
        start: str = 'random',
        norm_cfg: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        check_integers(in_channels=in_channels)
        if name == 'se':  # timm rounds the squeezed width to multiples of 8; the paper of SE does not
            kwargs.setdefault('rd_divisor', 1)
        self.in_channels = in_channels
        self.layer = _with_norm(_build(name, in_channels, kwargs), norm_cfg)
        self.norm_cfg = None if norm_cfg is None else dict(norm_cfg)
        self.start = start
        self._zeroed: list[str] = []
        self._factor = 1
        self.blend: Blend | None = None
        if check_start(start):
            gates = _existing(self.layer, GATES.get(name, ()))
            if name == 'ge' and not gates:  # no MLP: the gate follows the last norm of the gather, if it has parameters
                gates = [key for key, _ in self.layer.named_modules() if key.startswith('gather.')][-1:]
            self._zeroed = gates + _existing(self.layer, ADDED.get(name, ()))
            self._factor = 2 ** len(gates)
            if not self._zeroed or kwargs.get('gate_layer', 'sigmoid') not in ('sigmoid', 'hard_sigmoid'):
                self._zeroed, self._factor, self.blend = [], 1, Blend(in_channels)
            self.reset_start()
            watch_loading(self)

    def init_weights(self) -> None:
        """Restore the initialisation of timm, which the ``init_cfg`` of the backbone has overwritten."""
        super().init_weights()
        reset: Any = getattr(self.layer, 'reset_parameters', None)
        if reset is not None:
            reset()
        self.reset_start()

    def reset_start(self) -> None:
        """With ``start='identity'``, make the attention the identity."""
        for layer in self._zero_layers():
            zero(layer)

    def is_identity(self) -> bool:
        """Whether the attention returns its input: built with ``start='identity'``, and not trained since."""
        return self.start == 'identity' and all(is_zero(layer) for layer in self._zero_layers())

    def _zero_layers(self) -> list[nn.Module]:
        return [self.layer.get_submodule(name) for name in self._zeroed] + ([] if self.blend is None else [self.blend])

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        if self.blend is not None:
            return self.blend(x, self.layer(x))
        return self.layer(x) if self._factor == 1 else self._factor * self.layer(x)


def _existing(layer: nn.Module, names: Iterable[str]) -> list[str]:
    modules = dict(layer.named_modules())
    return [name for name in names if name in modules]


def _with_norm(layer: nn.Module, norm_cfg: Any) -> nn.Module:
    kind = norm_class(norm_cfg)
    if kind is nn.BatchNorm2d:
        return layer
    if not issubclass(kind, nn.SyncBatchNorm):
        raise ValueError(
            f"norm_cfg of an attention of timm must have the type 'BN' or 'SyncBN', not {norm_cfg['type']!r}. Leave it "
            'out for the norms of timm.'
        )
    from timm.layers import convert_sync_batchnorm  # torch's loses the activations in norms of timm

    return convert_sync_batchnorm(layer)


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
