"""Poolings and products of gates, with cheaper hand-written backward passes.

All can be differentiated twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.kernels.modes import traced, transformed


def channel_pool(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Maximum and mean over channels of ``x``, or of ``scale * x`` (not stored): ``(N, E, 2, H, W)``.

    The order is that of the released code; the paper has [avg; max], which only permutes the weights. Equal maxima
    share the gradient evenly, as in ``torch.amax``, whose backward pass takes 3 times as long.

    Args:
        x: ``(N, E, C, H, W)``; or with a scale ``(N, 1, C, H, W)``, one for all edges.
        scale: ``(N, E, C, 1, 1)``.
    """
    if torch.jit.is_tracing() or transformed():
        return _pool(x if scale is None else x * scale, 2)
    return _Pool.apply(x, scale, 2)


def channel_maps(x: Tensor) -> Tensor:
    """:func:`channel_pool` as maps, ``(N, E, C, H, W) -> (N, E * 2, H, W)``.

    With sizes that vary, torch.compile cannot keep a view for the backward pass, so that it gets none.
    """
    if not traced():
        return channel_pool(x).flatten(1, 2)
    return torch.cat([pool for edge in x.unbind(1) for pool in (edge.amax(1, True), edge.mean(1, True))], 1)


def pixel_pool(x: Tensor) -> Tensor:
    """Maximum and mean over pixels: ``(N, E, C, H, W) -> (N, E, 2, C)``."""
    if traced():
        return torch.stack((x.amax((-2, -1)), x.mean((-2, -1))), 2)
    x = x.flatten(-2)
    return _pool(x, -1) if transformed() else _Pool.apply(x, None, -1)


def pixel_mean(x: Tensor) -> Tensor:
    """``(..., H, W) -> (..., 1, 1)``. The backward pass scales the small gradient and expands it."""
    return x.mean((-2, -1), keepdim=True) if traced() or transformed() else _PixelMean.apply(x)


def group_sum(x: Tensor, groups: int) -> Tensor:
    """The sum of the groups of channels, ``(N, G * C, H, W)`` to ``(N, C, H, W)``, in the memory format of x."""
    channels = x.size(1) // groups
    if x.stride(1) == 1:  # channels_last, or some of its channels
        pixels = x.permute(0, 2, 3, 1)
        return pixels.view(*pixels.shape[:3], groups, channels).sum(3).permute(0, 3, 1, 2)
    return x.view(x.size(0), groups, channels, *x.shape[2:]).sum(1)


def add_product(base: Tensor, x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """``base + x * y``. The backward pass of ``torch.addcmul`` has two more products."""
    if out is not None or traced() or transformed():
        return torch.addcmul(base, x, y, out=out)
    return _AddProduct.apply(base, x, y)


class _PixelMean(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.mean((-2, -1), keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return (grad / (ctx.shape[-2] * ctx.shape[-1])).expand(ctx.shape)


class _AddProduct(Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return torch.addcmul(base, x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, y = ctx.saved_tensors
        return grad, (grad * y).sum_to_size(x.shape), (grad * x).sum_to_size(y.shape)


class _Pool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor | None, dim: int) -> Tensor:
        pooled = _pool(x if scale is None else x * scale, dim)
        ctx.save_for_backward(x, scale, pooled)
        ctx.dim = dim
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, scale, pooled = ctx.saved_tensors
        grad_top, grad_mean = (part.unsqueeze(ctx.dim) for part in grad.unbind(2))
        scaled = x if scale is None else x * scale
        largest = scaled == pooled.select(2, 0).unsqueeze(ctx.dim)
        share = grad_top / largest.sum(ctx.dim, keepdim=True, dtype=grad.dtype)
        grad = torch.addcmul(grad_mean / x.size(ctx.dim), largest, share)
        if scale is None:
            return grad, None, None
        grad_x = (grad * scale).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        grad_scale = (grad * x).sum_to_size(scale.shape) if ctx.needs_input_grad[1] else None
        return grad_x, grad_scale, None


def _pool(x: Tensor, dim: int) -> Tensor:
    """Maximum and mean over one dimension, stacked along dimension 2."""
    if traced() or transformed():
        return torch.stack((x.amax(dim), x.mean(dim)), 2)
    shape = list(x.shape)
    del shape[dim]
    pooled = x.new_empty((*shape[:2], 2, *shape[2:]))
    torch.amax(x, dim, out=pooled.select(2, 0))
    torch.mean(x, dim, out=pooled.select(2, 1))
    return pooled
