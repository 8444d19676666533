"""Fewer layers for the same output in eval mode: batch norms fold into convolutions, narrow convolutions are composed.

A point-wise convolution P after another convolution W is the convolution ``P W``; zero padding does not interfere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmhoga.models.fast.kernels import PointwiseConv2d

# Above this width a depth-wise 3x3 and a point-wise convolution are faster than one dense 3x3. With 2 threads,
# channels_last and batch 8: 2 maps of 56x56 take 137 and 103 us, 8 maps 198 and 221, 32 maps of 28x28 159 and 329.
COMPOSED_CHANNELS = 4


def fold(conv: nn.Conv2d, norm: Any) -> nn.Conv2d:
    """The convolution that equals ``norm(conv(x))`` in eval mode."""
    statistics = (norm.running_mean, norm.running_var, norm.eps)
    # Not fuse_conv_bn_eval, which copies the class: a plain Conv2d is what exporters know.
    return _like(conv, *fuse_conv_bn_weights(conv.weight, conv.bias, *statistics, norm.weight, norm.bias))


def compose(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """The convolution without groups that equals ``second(first(x))``, for a point-wise ``second``."""
    inner, outer = _dense(first), _dense(second).flatten(1)
    bias = second.bias
    if first.bias is not None:
        bias = outer @ first.bias + (0 if bias is None else bias)
    return _like(first, torch.einsum('om,mikl->oikl', outer, inner), bias, groups=1)


def fold_norms(module: nn.Module) -> None:
    """Fold each batch norm below ``module`` that follows a convolution among its siblings, in place.

    The order of siblings is a convention of the hosts, on which mmcv's ``fuse_conv_bn`` also relies; the caller checks
    that the model keeps to it. An Identity replaces a folded norm, since models look up their norms by name.
    """
    for child in module.children():
        fold_norms(child)
    children: list[tuple[str, Any]] = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in zip(children, children[1:]):
        if _foldable(conv, norm):
            setattr(module, conv_name, fold(conv, norm))
            setattr(module, norm_name, nn.Identity())


def shortened(layers: nn.Sequential) -> nn.Sequential:
    """The same layers without Identities, and with narrow pairs of convolutions composed."""
    result: list[Any] = []
    layer: Any
    for layer in layers:
        if isinstance(layer, nn.Identity):
            continue
        if result and _composable(result[-1], layer):
            layer = compose(result.pop(), layer)
        result.append(layer)
    return nn.Sequential(*result)


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    return (
        type(conv) in (nn.Conv2d, PointwiseConv2d)  # a subclass may compute something else
        and isinstance(norm, _BatchNorm)
        and norm.track_running_stats
        and norm.num_features == conv.out_channels
    )


def _composable(first: nn.Module, second: nn.Module) -> bool:
    return (
        type(first) is type(second) is nn.Conv2d
        and first.in_channels <= COMPOSED_CHANNELS
        and second.kernel_size == second.stride == (1, 1)
        and second.padding == (0, 0)
    )


def _dense(conv: nn.Conv2d) -> Tensor:
    """The weight of the same convolution without groups."""
    blocks = conv.weight.flatten(1).chunk(conv.groups)  # (O / G, I / G * k * k)
    return torch.block_diag(*blocks).view(conv.out_channels, conv.in_channels, *conv.kernel_size)


def _like(conv: Any, weight: Tensor, bias: Tensor | None, groups: int | None = None) -> nn.Conv2d:
    groups = groups or conv.groups
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, groups)
    result = nn.Conv2d(
        weight.size(1) * groups, len(weight), *geometry, bias is not None, conv.padding_mode, device='meta'
    )
    result.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        result.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return result.eval()
