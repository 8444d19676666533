"""Fewer layers for the same output in eval mode: batch norms fold into convolutions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmhoga.models.fast.kernels.convolutions import PointwiseConv2d


def fold(conv: nn.Conv2d, norm: Any) -> nn.Conv2d:
    """The convolution that equals ``norm(conv(x))`` in eval mode."""
    statistics = (norm.running_mean, norm.running_var, norm.eps)
    # Not fuse_conv_bn_eval, which copies the class: a plain Conv2d is what exporters know.
    return _like(conv, *fuse_conv_bn_weights(conv.weight, conv.bias, *statistics, norm.weight, norm.bias))


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


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    return (
        type(conv) in (nn.Conv2d, PointwiseConv2d)  # a subclass may compute something else
        and isinstance(norm, _BatchNorm)
        and norm.track_running_stats
        and norm.num_features == conv.out_channels
    )


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
