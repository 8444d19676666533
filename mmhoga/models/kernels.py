"""Functions whose gradients cost less when written down than when derived: same values, same derivatives.

All of them can be differentiated twice.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function


def depthwise(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """A depth-wise convolution that keeps the size; fastest for ``x`` in channels_last.

    Its gradient with respect to x is the depth-wise convolution of the output's gradient with the mirrored kernel. As
    such it runs as fast as the forward pass; as a "backward data" primitive, with a dilation, six times slower (oneDNN).

    Args:
        x: ``(N, C, H, W)``.
        weight: ``(C, 1, k, k)``, k odd.
    """
    return _Depthwise.apply(x, weight, dilation)


def channel_max(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """The maximum over channels of ``x``, or of ``scale * x`` which is not stored: dimension 2 becomes 1.

    Equal maxima share the gradient evenly, as with ``torch.amax``, whose derivative takes thrice as long.

    Args:
        x: ``(N, E, C, H, W)``; or with a scale ``(N, 1, C, H, W)``, one for all edges.
        scale: ``(N, E, C, 1, 1)``.
    """
    return _Max.apply(x, 2) if scale is None else _ScaledMax.apply(x, scale)


def pixel_max(x: Tensor) -> Tensor:
    """The maximum over pixels: ``(..., H, W) -> (...)``."""
    return _Max.apply(x.flatten(-2), -1).squeeze(-1)


def weighted_sum(x: Tensor, weight: Tensor) -> Tensor:
    """``(weight * x).sum(1)``, whose product is not stored.

    Args:
        x: ``(N, M, ...)``.
        weight: of x's shape but for some ones, the first among them.
    """
    return _WeightedSum.apply(x, weight)


class _Depthwise(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _depthwise(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            # Under autocast the output, and so its gradient, has fewer bits than the inputs.
            grad_x = _depthwise(grad, weight.to(grad.dtype).flip(2, 3), ctx.dilation).to(x.dtype)
        if ctx.needs_input_grad[1]:
            pad, dilation = [_padding(weight, ctx.dilation)] * 2, [ctx.dilation] * 2
            arguments = (None, [1, 1], pad, dilation, False, [0, 0], len(weight), [False, True, False])
            grad_weight = torch.ops.aten.convolution_backward(
                grad, x.to(grad.dtype), weight.to(grad.dtype), *arguments
            )[1].to(weight.dtype)
        return grad_x, grad_weight, None


class _Max(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        top = x.amax(dim, keepdim=True)
        ctx.save_for_backward(x, top)
        ctx.dim = dim
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, top = ctx.saved_tensors
        return _to_the_largest(x, top, grad, ctx.dim), None


class _ScaledMax(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        top = (scale * x).amax(2, keepdim=True)
        ctx.save_for_backward(x, scale, top)
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, scale, top = ctx.saved_tensors
        grad = _to_the_largest(scale * x, top, grad, 2)
        grad_x = (grad * scale).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        grad_scale = (grad * x).sum_to_size(scale.shape) if ctx.needs_input_grad[1] else None
        return grad_x, grad_scale


class _WeightedSum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        total = x[:, 0] * weight[:, 0]
        for i in range(1, x.size(1)):
            total = total.addcmul_(x[:, i], weight[:, i])
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        grad = grad.unsqueeze(1)
        grad_x = grad * weight if ctx.needs_input_grad[0] else None
        grad_weight = (grad * x).sum_to_size(weight.shape) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight


def _to_the_largest(x: Tensor, top: Tensor, grad: Tensor, dim: int) -> Tensor:
    largest = (x == top).to(grad.dtype)
    return largest * (grad / largest.sum(dim, keepdim=True))


def _depthwise(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return F.conv2d(x, weight, padding=_padding(weight, dilation), dilation=dilation, groups=len(weight))


def _padding(weight: Tensor, dilation: int) -> int:
    return dilation * (weight.size(-1) // 2)
