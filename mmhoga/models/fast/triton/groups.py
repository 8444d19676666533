"""The groups of channels of an input, each for several uses, whose gradients are added in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.triton.slices import blocks, empty, is_last, maps, sliced

ALL = -2  # in the place of a group: a tensor with all of them
_AT_ONCE = 16  # tensors in one launch


@triton.jit
def group_kernel(
    out, out_width, x0, w0, x1, w1, x2, w2, x3, w3, x4, w4, x5, w5, x6, w6, x7, w7,
    x8, w8, x9, w9, x10, w10, x11, w11, x12, w12, x13, w13, x14, w14, x15, w15, C, HW,
    G0: tl.constexpr, G1: tl.constexpr, G2: tl.constexpr, G3: tl.constexpr,
    G4: tl.constexpr, G5: tl.constexpr, G6: tl.constexpr, G7: tl.constexpr,
    G8: tl.constexpr, G9: tl.constexpr, G10: tl.constexpr, G11: tl.constexpr,
    G12: tl.constexpr, G13: tl.constexpr, G14: tl.constexpr, G15: tl.constexpr,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """For each group of C channels of ``out``, the sum of the tensors of this group; G: -1 for no tensor."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.arange(0, BC)
    total = tl.zeros((BP, BC), tl.float32)
    total = _added(total, x0, w0, n, p, c, C, HW, G0, LAST)
    total = _added(total, x1, w1, n, p, c, C, HW, G1, LAST)
    total = _added(total, x2, w2, n, p, c, C, HW, G2, LAST)
    total = _added(total, x3, w3, n, p, c, C, HW, G3, LAST)
    total = _added(total, x4, w4, n, p, c, C, HW, G4, LAST)
    total = _added(total, x5, w5, n, p, c, C, HW, G5, LAST)
    total = _added(total, x6, w6, n, p, c, C, HW, G6, LAST)
    total = _added(total, x7, w7, n, p, c, C, HW, G7, LAST)
    total = _added(total, x8, w8, n, p, c, C, HW, G8, LAST)
    total = _added(total, x9, w9, n, p, c, C, HW, G9, LAST)
    total = _added(total, x10, w10, n, p, c, C, HW, G10, LAST)
    total = _added(total, x11, w11, n, p, c, C, HW, G11, LAST)
    total = _added(total, x12, w12, n, p, c, C, HW, G12, LAST)
    total = _added(total, x13, w13, n, p, c, C, HW, G13, LAST)
    total = _added(total, x14, w14, n, p, c, C, HW, G14, LAST)
    total = _added(total, x15, w15, n, p, c, C, HW, G15, LAST)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    target = maps(out, out_width, n, p, tl.program_id(2) * C + c, HW, LAST)
    tl.store(target, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _added(total, x, width, n, p, c, C, HW, GROUP: tl.constexpr, LAST: tl.constexpr):
    """``total + x`` if x is of the group of this program or of all."""
    k = tl.program_id(2)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    if GROUP == -2:
        total += tl.load(maps(x, width, n, p, k * C + c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if GROUP >= 0:
        total += tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask & (k == GROUP), other=0.0).to(tl.float32)
    return total


def split(x: Tensor, uses: Sequence[int]) -> tuple[Tensor, list[list[Tensor]]]:
    """The groups of channels of x, each as often as it is used, and x for one more use.

    Args:
        x: ``(N, K * C, H, W)``.
        uses: of each of the K groups.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return x, [[group] * count for group, count in zip(x.split(x.size(1) // len(uses), 1), uses)]
    whole, *parts = _Split.apply(x, uses)
    rest = iter(parts)
    return whole, [[next(rest) for _ in range(count)] for count in uses]


class _Split(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, uses: Sequence[int]) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.count, ctx.last, channels = len(uses), is_last(x), x.size(1) // len(uses)
        ctx.groups = [ALL, *(k for k, count in enumerate(uses) for _ in range(count))]
        return x.view_as(x), *(x.narrow(1, k * channels, channels) for k in ctx.groups[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        found = [(grad, k) for grad, k in zip(grads, ctx.groups) if grad is not None]
        if not found:
            return None, None
        return (_plain_sum if torch.is_grad_enabled() else _launch_sum)(found, ctx.count, ctx.last), None


def _plain_sum(found: Sequence[tuple[Tensor, int]], count: int, last: bool) -> Tensor:
    """The sum of tensors of groups and of tensors with all groups, by plain operators."""
    wholes = [x for x, k in found if k == ALL]
    parts: list[Any] = [sum(x for x, k in found if k == group) for group in range(count)]
    like = next((part for part in parts if not isinstance(part, int)), None)
    if like is not None:
        wholes.append(torch.cat([torch.zeros_like(like) if isinstance(part, int) else part for part in parts], 1))
    total: Any = sum(wholes)
    return total


def _launch_sum(found: Sequence[tuple[Tensor, int]], count: int, last: bool) -> Tensor:
    (x, group), rest = found[0], list(found)
    channels = x.size(1) // count if group == ALL else x.size(1)
    out = empty(x[:, :1].expand(-1, count * channels, -1, -1), last)
    target, width = sliced(out, last)
    pixels = x.size(2) * x.size(3)
    high, wide, along = blocks(channels, pixels)
    while rest:
        now, rest = rest[:_AT_ONCE], rest[_AT_ONCE:]
        missing = _AT_ONCE - len(now)
        arguments = [argument for x, _ in now for argument in sliced(x, last)] + [None, 0] * missing
        group_kernel[(x.size(0), along, count)](
            target, width, *arguments, channels, pixels, *(k for _, k in now), *([-1] * missing),
            LAST=last, BP=high, BC=wide,
        )  # fmt: skip
        rest = [(out, ALL), *rest] if rest else rest
    return out
