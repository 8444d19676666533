"""Channel attention on its own input: the gate and the gradient of the mean in one launch each."""

from __future__ import annotations

from typing import Any, Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.kernels import mlps as plain
from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.fast.triton.launch import gradients
from mmhoga.models.fast.triton.mlps import channel_logits
from mmhoga.models.fast.triton.slices import blocks, channel_gate, empty, is_last, maps, sliced

_CHANNELS = 64  # of a block at most


@triton.jit
def scale_kernel(
    x, width, logits, added, out, out_width, C, HW,
    FACTOR: tl.constexpr, ADDED: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """With g = FACTOR sigmoid(logits): g x for ADDED 0, g (x + added) by channel for 1, g x + added / HW for 2."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    gate = FACTOR * channel_gate(logits, C, n, c, C)
    if ADDED == 1:
        value += tl.load(added + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    value *= gate[None, :]
    if ADDED == 2:
        value += (tl.load(added + n * C + c, mask=c < C, other=0.0).to(tl.float32) / HW)[None, :]
    tl.store(maps(out, out_width, n, p, c, HW, LAST), value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def logits_kernel(
    grad, grad_width, x, width, logits, partial, C, HW,
    FACTOR: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradient of logits, summed over one block of pixels."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    value *= tl.load(maps(grad, grad_width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    s = channel_gate(logits, C, n, c, C)
    row = (tl.program_id(1) * tl.num_programs(0) + n) * C
    tl.store(partial + row + c, tl.sum(value, 0) * (FACTOR * s * (1 - s)), mask=c < C)


def attend(x: Tensor, mlp: Mlp, factor: int = 1, shift: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """As the plain form. ``shift`` and ``out`` are for use without gradients."""
    if torch.is_grad_enabled():
        assert shift is None and out is None
        return _Attend.apply(factor, x, *mlp)
    last = is_last(x)
    logits = channel_logits(_mean(x), mlp, 1).contiguous()
    return _scale(x, logits, factor, last, shift, 0 if shift is None else 1, out)


def _mean(x: Tensor) -> Tensor:
    return x.mean((-2, -1))[:, None, None]


def _scale(
    x: Tensor, logits: Tensor, factor: int, last: bool, added: Tensor | None, use: int, out: Tensor | None = None
) -> Tensor:
    x, width = sliced(x, last)
    out = empty(x, last) if out is None else out
    target, out_width = sliced(out, last)
    pixels, high, wide, grid = _grid(x)
    sizes = (x.size(1), pixels)
    scale_kernel[grid](x, width, logits, added, target, out_width, *sizes, factor, use, LAST=last, BP=high, BC=wide)
    return out if target is out else out.copy_(target)


def _grid(x: Tensor) -> tuple[int, int, int, tuple[int, int, int]]:
    """The number of pixels, pixels and channels of a block, and the numbers of images and blocks."""
    pixels = x.size(2) * x.size(3)
    high, wide, count = blocks(min(x.size(1), _CHANNELS), pixels)
    return pixels, high, wide, (x.size(0), count, triton.cdiv(x.size(1), wide))


def _plain(factor: int) -> Callable[..., Tensor]:
    return lambda x, *mlp: plain.attend(x, Mlp(*mlp), factor)


class _Attend(Function):
    """The MLP has a graph of its own, so that its backward pass runs between the two launches of this one."""

    @staticmethod
    def forward(ctx: Any, factor: int, x: Tensor, *mlp: Tensor | None) -> Tensor:
        inner = [None if weight is None else weight.detach().requires_grad_(weight.requires_grad) for weight in mlp]
        pooled = _mean(x).requires_grad_()
        with torch.enable_grad():
            logits = channel_logits(pooled, Mlp(*inner), 1)  # type: ignore[arg-type]
        ctx.save_for_backward(x, *mlp)
        ctx.inner = pooled, inner, logits
        ctx.factor, ctx.last = factor, is_last(x)
        return _scale(x, logits.detach().contiguous(), factor, ctx.last, None, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *gradients(_plain(ctx.factor), inputs, needed, grad)
        x, last = inputs[0], ctx.last
        pooled, inner, logits = ctx.inner
        values = logits.detach().contiguous()
        x, width = sliced(x, last)
        grad, grad_width = sliced(grad, last)
        pixels, high, wide, grid = _grid(x)
        partial = x.new_empty((grid[1], *values.shape), dtype=torch.float32)
        sizes = (x.size(1), pixels)
        logits_kernel[grid](
            grad, grad_width, x, width, values, partial, *sizes, ctx.factor, LAST=last, BP=high, BC=wide
        )
        wanted = [weight for weight in inner if weight is not None and weight.requires_grad]
        dlogits = partial.sum(0).to(logits.dtype)
        dpooled, *found = torch.autograd.grad(logits, [pooled, *wanted], dlogits, retain_graph=True)
        rest = iter(found)
        weights = [next(rest) if weight is not None and weight.requires_grad else None for weight in inner]
        dx = _scale(grad, values, ctx.factor, last, dpooled.contiguous(), 2) if needed[0] else None
        return None, dx, *weights
