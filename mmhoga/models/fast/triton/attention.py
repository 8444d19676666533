"""Channel attention on its own input or on a sum: one launch each for the sum and its means, the gate, the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.kernels import mlps as plain
from mmhoga.models.fast.kernels.gates import Message
from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.fast.kernels.pools import group_sum
from mmhoga.models.fast.triton.gates import AT_ONCE, launch_sum
from mmhoga.models.fast.triton.launch import gradients
from mmhoga.models.fast.triton.mlps import run, run_backward
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


def attend(
    x: Tensor,
    mlp: Mlp,
    factor: int = 1,
    shift: Tensor | None = None,
    out: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """As the plain form. ``shift`` and ``out`` are for use without gradients."""
    x, pooled = (x, None) if residual is None else pooled_sum([x, residual])
    return _attend(x, pooled, mlp, factor, shift, out)


def join(joined: Tensor, nodes: Sequence[Tensor], terms: Sequence[Tensor], whole: Tensor, mlp: Mlp) -> Tensor:
    """Completes ``[U_0; ...; U_{K-1}; SE(summary)]``, ``(N, C + C / K, H, W)``.

    Args:
        joined: the result, with the nodes that were computed. Those that are inputs are copied.
        nodes: U_0 to U_{K-1}.
        terms: their sum is the summary: the nodes again, or the inputs F_0 to F_{K-1}.
        whole: the inputs as one tensor if they are the terms; else ``joined``.
    """
    *places, target = joined.detach().split(terms[0].size(1), dim=1)
    copies = [pair for pair in zip(nodes, places) if pair[0].data_ptr() != pair[1].data_ptr()]
    total, pooled = pooled_sum(terms, copies, whole)
    summary = _attend(total, pooled, mlp, 1, None, target)
    return _Joined.apply((joined,), *nodes, summary) if torch.is_grad_enabled() else joined


def _attend(
    x: Tensor, pooled: Tensor | None, mlp: Mlp, factor: int, shift: Tensor | None, out: Tensor | None
) -> Tensor:
    """Channel attention on x, whose means over pixels may be known, in parts."""
    if torch.is_grad_enabled():
        assert shift is None
        return _Attend.apply((factor, out), x, pooled, *mlp)
    logits, *_ = run(_mean(x) if pooled is None else pooled, mlp)
    return _scale(x, logits, factor, is_last(x), shift, 0 if shift is None else 1, out)


def _mean(x: Tensor) -> Tensor:
    return x.mean((-2, -1))[None, :, None, None]


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
    @staticmethod
    def forward(ctx: Any, target: tuple[int, Tensor | None], x: Tensor, pooled: Tensor | None, *mlp: Any) -> Tensor:
        ctx.factor, out = target
        ctx.last = is_last(x)
        ctx.save_for_backward(x, *mlp)
        logits, *rest = run(_mean(x) if pooled is None else pooled, mlp)
        ctx.inner = logits, *rest
        return _scale(x, logits, ctx.factor, ctx.last, None, 0, out).data  # not a view of a larger tensor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad[1], *ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            dx, *weights = gradients(_plain(ctx.factor), inputs, needed, grad)
            return None, dx, None, *weights
        (x, *mlp), last = inputs, ctx.last
        logits, hidden, pooled = ctx.inner
        x, width = sliced(x, last)
        grad, grad_width = sliced(grad, last)
        pixels, high, wide, grid = _grid(x)
        partial = x.new_empty((grid[1], *logits.shape), dtype=torch.float32)
        sizes = (x.size(1), pixels)
        logits_kernel[grid](
            grad, grad_width, x, width, logits, partial, *sizes, ctx.factor, LAST=last, BP=high, BC=wide
        )
        dpooled, *weights = run_backward(partial, pooled, hidden, mlp, any(needed[1:]))
        return None, _scale(grad, logits, ctx.factor, last, dpooled, 2) if needed[0] else None, None, *weights


class _Joined(Function):
    """A tensor whose parts along the channels are already where they belong."""

    @staticmethod
    def forward(ctx: Any, target: tuple[Tensor], *parts: Tensor) -> Tensor:
        ctx.sizes = [part.size(1) for part in parts]
        return target[0].data

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, *grad.split(ctx.sizes, dim=1)


def pooled_sum(
    terms: Sequence[Tensor], copies: Sequence[tuple[Tensor, Tensor]] = (), whole: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The sum of tensors and its means over pixels, in parts: ``(parts, N, 1, 1, C)``.

    Args:
        copies: tensors and where to copy them, which takes no launch of its own for one of the terms.
        whole: a tensor that starts with the terms, if there may be more than 4, or with the copies of some.
    """
    return _PooledSum.apply((copies, whole), *terms)


class _PooledSum(Function):
    @staticmethod
    def forward(ctx: Any, options: Any, *terms: Tensor) -> tuple[Tensor, Tensor]:
        copies, whole = options
        ctx.set_materialize_grads(False)
        ctx.dtypes = [term.dtype for term in terms]
        places = {term.data_ptr(): i for i, term in enumerate(terms)} if len(terms) <= AT_ONCE else {}
        first = next((pair for pair in copies if pair[0].data_ptr() in places), None)
        for pair in copies:
            if pair is not first:
                pair[1].copy_(pair[0])
        if len(terms) > AT_ONCE:
            total = group_sum(whole[:, : len(terms) * terms[0].size(1)], len(terms))
            pooled = _mean(total)
        else:
            i = 0 if first is None else places[first[0].data_ptr()]
            order = [terms[i], *terms[:i], *terms[i + 1 :]]
            tensors = [tensor for term in order for tensor in Message(term)]
            total, pooled = launch_sum(tensors, copy=None if first is None else first[1], pool=True)
        ctx.mark_non_differentiable(pooled)
        return total, pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: None) -> Any:
        return None, *(None if grad is None else grad.to(dtype) for dtype in ctx.dtypes)
