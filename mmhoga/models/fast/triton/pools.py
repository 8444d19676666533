"""Poolings over channels and over pixels: maximum and mean in one launch, and their gradients in another."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.kernels import pools as plain
from mmhoga.models.fast.triton.launch import gradients
from mmhoga.models.fast.triton.slices import blocks, channel_gate, empty, is_last, maps, sliced

# One program pools all pixels of an image. Beyond this number the plain form uses more of a GPU.
_MOST_PIXELS = 16384


@triton.jit
def _top(value, mask):
    """The maximum over channels, NaN if one of them is, which ``tl.max`` leaves out on a GPU."""
    missing = tl.sum(((value != value) & mask).to(tl.int32), 1)
    return tl.where(missing > 0, float('nan'), tl.max(tl.where(mask, value, float('-inf')), 1))


@triton.jit
def channel_pool_kernel(
    x, width, logits, out, C, HW, STEP: tl.constexpr,
    GATED: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Maximum and mean over the channels of an edge. Edge e has the channels from ``e STEP`` on, C of them."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    e, edges = tl.program_id(2), tl.num_programs(2)
    c = tl.arange(0, BC)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, e * STEP + c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if GATED:
        value *= channel_gate(logits, edges * C, n, e * C + c, e * C + C)[None, :]
    mean = tl.sum(value, 1) / C
    top = _top(value, mask)
    two = tl.arange(0, 2)
    both = tl.where(two[None, :] == 0, top[:, None], mean[:, None])
    pointers = maps(out, 2 * edges, n, p, 2 * e + two, HW, LAST)
    tl.store(pointers, both.to(out.dtype.element_ty), mask=(p < HW)[:, None])


@triton.jit
def channel_gradient_kernel(
    grad, grad_width, x, width, logits, dx, partial, C, HW, STEP: tl.constexpr,
    GATED: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradient of an edge's input; that of the logits is summed over one block of pixels."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    e, edges = tl.program_id(2), tl.num_programs(2)
    c = tl.arange(0, BC)
    inside = (p < HW)[:, None]
    mask = inside & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, e * STEP + c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    scaled = value
    if GATED:
        gate = channel_gate(logits, edges * C, n, e * C + c, e * C + C)
        scaled = value * gate[None, :]
    first = tl.arange(0, 1)
    dtop = tl.load(maps(grad, grad_width, n, p, 2 * e + first, HW, LAST), mask=inside, other=0.0).to(tl.float32)
    dmean = tl.load(maps(grad, grad_width, n, p, 2 * e + 1 + first, HW, LAST), mask=inside, other=0.0).to(tl.float32)
    top = _top(scaled, mask)
    largest = (scaled == top[:, None]) & mask
    count = tl.sum(largest.to(tl.float32), 1)
    g = dmean / C + largest.to(tl.float32) * (dtop / count[:, None])  # NaN where the maximum is
    if GATED:
        row = ((tl.program_id(1) * tl.num_programs(0) + n) * edges + e) * C
        slope = gate * (1 - gate)
        tl.store(partial + row + c, tl.sum(tl.where(mask, g * value, 0.0), 0) * slope, mask=c < C)
        g = g * gate[None, :]
    tl.store(maps(dx, edges * C, n, p, e * C + c, HW, LAST), g.to(dx.dtype.element_ty), mask=mask)


@triton.jit
def pixel_pool_kernel(x, width, out, counts, channels, C, HW, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr):
    """Maximum and mean over pixels, and the number of equal maxima, for one block of channels of one image."""
    n = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    total = tl.zeros((BC,), tl.float32)
    count = tl.zeros((BC,), tl.float32)
    top = tl.full((BC,), float('-inf'), tl.float32)
    missing = tl.zeros((BC,), tl.int32)
    for start in range(0, HW, BP):
        p = start + tl.arange(0, BP)
        mask = (p < HW)[:, None] & (c < channels)[None, :]
        value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
        total += tl.sum(value, 0)
        missing += tl.sum((value != value).to(tl.int32), 0)
        value = tl.where(mask, value, float('-inf'))
        higher = tl.maximum(top, tl.max(value, 0))
        count = tl.where(higher > top, 0.0, count) + tl.sum(((value == higher[None, :]) & mask).to(tl.float32), 0)
        top = higher
    mean = total / HW
    top = tl.where(missing > 0, float('nan'), top)
    count = tl.where(missing > 0, 0.0, count)
    target = out + n * 2 * channels + (c // C) * 2 * C + c % C
    tl.store(target, top.to(out.dtype.element_ty), mask=c < channels)
    tl.store(target + C, mean.to(out.dtype.element_ty), mask=c < channels)
    tl.store(counts + n * channels + c, count, mask=c < channels)


@triton.jit
def pixel_gradient_kernel(
    grad, x, width, pooled, counts, dx, channels, C, HW, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr
):
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    known = c < channels
    mask = (p < HW)[:, None] & known[None, :]
    row = n * 2 * channels + (c // C) * 2 * C + c % C
    value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    top = tl.load(pooled + row, mask=known, other=0.0).to(tl.float32)
    share = tl.load(grad + row, mask=known, other=0.0).to(tl.float32)
    share /= tl.load(counts + n * channels + c, mask=known, other=1.0)
    mean = tl.load(grad + row + C, mask=known, other=0.0).to(tl.float32) / HW
    g = mean[None, :] + (value == top[None, :]).to(tl.float32) * share[None, :]
    tl.store(maps(dx, channels, n, p, c, HW, LAST), g.to(dx.dtype.element_ty), mask=mask)


def channel_maps(x: Tensor, logits: Tensor | None = None) -> Tensor:
    """As the plain form, of x or of ``x * logits.sigmoid()``: ``(N, E * 2, H, W)``.

    Args:
        x: ``(N, E, C, H, W)``; with logits also ``(N, 1, C, H, W)``, one for all edges.
        logits: ``(N, E, C, 1, 1)``.
    """
    return _ChannelMaps.apply(x, logits)


def pixel_pool(x: Tensor) -> Tensor:
    """As the plain form: ``(N, E, C, H, W)`` to ``(N, E, 2, C)``."""
    return plain.pixel_pool(x) if x.size(-1) * x.size(-2) > _MOST_PIXELS else _PixelPool.apply(x)


def _flat(x: Tensor) -> tuple[Tensor, int, bool]:
    """``(N, E * C, H, W)``, its width, and whether it is read as channels_last."""
    flat = x.flatten(1, 2)
    last = is_last(flat)
    return *sliced(flat, last), last


def _plain_maps(x: Tensor, logits: Tensor | None) -> Tensor:
    return plain.channel_maps(x if logits is None else x * logits.sigmoid())


class _ChannelMaps(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, logits)
        images, edges, channels, height, width = x.shape
        flat, total, last = _flat(x)
        values = None if logits is None else logits.contiguous()
        count = edges if values is None else values.size(1)
        pixels = height * width
        high, wide, along = blocks(channels, pixels)
        dtype = x.dtype
        if logits is not None and logits.dtype != dtype:
            dtype = torch.promote_types(dtype, logits.dtype)
        out = empty(flat[:, :1].expand(-1, 2 * count, -1, -1), last, dtype)
        channel_pool_kernel[(images, along, count)](
            flat, total, values, out, channels, pixels,
            STEP=channels if edges == count else 0, GATED=values is not None, LAST=last, BP=high, BC=wide,
        )  # fmt: skip
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, logits = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(gradients(_plain_maps, (x, logits), ctx.needs_input_grad, grad))
        images, edges, channels, height, width = x.shape
        flat, total, last = _flat(x)
        grad, grad_width = sliced(grad, last)
        values = None if logits is None else logits.contiguous()
        count = edges if values is None else values.size(1)
        pixels = height * width
        high, wide, along = blocks(channels, pixels)
        dx = empty(flat[:, :1].expand(-1, count * channels, -1, -1), last)
        partial = x.new_empty((along, images, count, channels), dtype=torch.float32) if values is not None else None
        channel_gradient_kernel[(images, along, count)](
            grad, grad_width, flat, total, values, dx, partial, channels, pixels,
            STEP=channels if edges == count else 0, GATED=values is not None, LAST=last, BP=high, BC=wide,
        )  # fmt: skip
        dx = dx.unflatten(1, (count, channels))
        dx = dx if count == edges else dx.sum(1, keepdim=True)
        return dx, None if partial is None else partial.sum(0).view_as(logits).to(logits.dtype)


class _PixelPool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        images, edges, channels, height, width = x.shape
        flat, total, last = _flat(x)
        out = x.new_empty((images, edges, 2, channels))
        counts = x.new_empty((images, edges * channels), dtype=torch.float32)
        high, wide, _ = blocks(min(edges * channels, 16), height * width)
        grid = (images, triton.cdiv(edges * channels, wide))
        pixel_pool_kernel[grid](
            flat, total, out, counts, edges * channels, channels, height * width, LAST=last, BP=high, BC=wide
        )
        ctx.save_for_backward(x, out, counts)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, pooled, counts = ctx.saved_tensors
        if torch.is_grad_enabled():
            return gradients(plain.pixel_pool, (x,), (True,), grad)[0]
        images, edges, channels, height, width = x.shape
        flat, total, last = _flat(x)
        high, wide, along = blocks(min(edges * channels, 64), height * width)
        dx = empty(flat, last)
        pixel_gradient_kernel[(images, along, triton.cdiv(edges * channels, wide))](
            grad.contiguous(), flat, total, pooled, counts, dx, edges * channels, channels, height * width,
            LAST=last, BP=high, BC=wide,
        )  # fmt: skip
        return dx.view_as(x)
