"""Fewer layers that compute the same in eval mode: batch norms go into convolutions, convolutions into one another.

With ``s = weight / sqrt(running_var + eps)`` a batch norm in eval mode is ``s (z - running_mean) + bias``, so that of
``z = W x + b`` is ``(s W) x + s (b - running_mean) + bias``. A point-wise convolution P after any other W is
``(P W) x``; zero padding commutes with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.models.fast.layers import PointwiseConv2d

# A depth-wise 3x3 and a point-wise convolution against one dense 3x3, 2 threads, channels_last, batch 8: 2 maps of
# 56 x 56 137 and 103 us; 8 maps 198 and 221; 32 maps of 28 x 28 159 and 329.
COMPOSED_CHANNELS = 4


def fold(conv: nn.Conv2d, norm: _BatchNorm) -> nn.Conv2d:
    """The convolution that is ``norm(conv(x))`` in eval mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    shift = scale * shift
    if norm.bias is not None:
        shift = shift + norm.bias
    return _like(conv, scale.view(-1, 1, 1, 1) * conv.weight, shift)


def compose(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """The convolution that is ``second(first(x))``, for a point-wise ``second``; neither result is grouped."""
    inner, outer = _dense(first), _dense(second).flatten(1)
    weight = torch.einsum('om,mikl->oikl', outer, inner)
    bias = second.bias
    if first.bias is not None:
        through = outer @ first.bias
        bias = through if bias is None else through + bias
    return _like(first, weight, bias, groups=1)


def fold_norms(module: nn.Module) -> None:
    """Fold each batch norm below ``module``, in place, that comes right after a convolution among its siblings.

    That order is the hosts' convention, and mmcv's ``fuse_conv_bn`` goes by it too; whether a model keeps to it is for
    the caller to check. A folded norm leaves an Identity, since models look for their norms by name.
    """
    for child in module.children():
        fold_norms(child)
    children: list[tuple[str, Any]] = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in zip(children, children[1:]):
        if _foldable(conv, norm):
            setattr(module, conv_name, fold(conv, norm))
            setattr(module, norm_name, nn.Identity())


def shortened(layers: nn.Sequential) -> nn.Sequential:
    """The same layers without Identities, and with narrow linear pairs composed."""
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
    """Its weight as if it had no groups."""
    blocks = conv.weight.unflatten(0, (conv.groups, -1))  # (G, O / G, I / G, k, k)
    weight = blocks.new_zeros(conv.groups, blocks.size(1), conv.groups, *blocks.shape[2:])
    for group, block in enumerate(blocks):
        weight[group, :, group] = block
    return weight.flatten(2, 3).flatten(0, 1)


def _like(conv: Any, weight: Tensor, bias: Tensor | None, groups: int | None = None) -> nn.Conv2d:
    groups = groups or conv.groups
    result = nn.Conv2d(
        weight.size(1) * groups,
        weight.size(0),
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        groups,
        bias=bias is not None,
        padding_mode=conv.padding_mode,
        device='meta',
    )
    result.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        result.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return result.eval()
