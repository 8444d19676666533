"""Sums of gated inputs in one launch, and one for all gradients. Gates are read as logits and never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.kernels import gates as plain
from mmhoga.models.fast.kernels.gates import Begun, Message
from mmhoga.models.fast.kernels.pools import channel_maps
from mmhoga.models.fast.triton.launch import gradients
from mmhoga.models.fast.triton.slices import blocks, channel_gate, empty, is_last, maps, pixel_gate, sliced

# Kinds of gates: none, (N, C, 1, 1), (N, 1, H, W), (N, C, H, W), and the first two together.
SKIP, CHANNEL, PIXEL, FULL, BOTH = range(5)
_AT_ONCE = 4  # messages in one launch
_NO_MESSAGE = (None, 0, None, 0, None, 0)


@triton.jit
def sum_kernel(
    out, out_width, x0, w0, g0, gw0, c0, cw0, x1, w1, g1, gw1, c1, cw1, x2, w2, g2, gw2, c2, cw2,
    x3, w3, g3, gw3, c3, cw3, C, HW,
    K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, K3: tl.constexpr,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """``out = x0 gate0 + x1 gate1 + ...`` for a block of pixels of one image; K: kinds, -1 for no message."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.arange(0, BC)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    total = _product(x0, w0, g0, gw0, c0, cw0, n, p, c, C, HW, K0, LAST)
    if K1 >= 0:
        total += _product(x1, w1, g1, gw1, c1, cw1, n, p, c, C, HW, K1, LAST)
    if K2 >= 0:
        total += _product(x2, w2, g2, gw2, c2, cw2, n, p, c, C, HW, K2, LAST)
    if K3 >= 0:
        total += _product(x3, w3, g3, gw3, c3, cw3, n, p, c, C, HW, K3, LAST)
    tl.store(maps(out, out_width, n, p, c, HW, LAST), total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def gradient_kernel(
    grad, grad_width, x0, w0, g0, gw0, c0, cw0, x1, w1, g1, gw1, c1, cw1, x2, w2, g2, gw2, c2, cw2,
    x3, w3, g3, gw3, c3, cw3,
    dx0, dg0, dc0, dx1, dg1, dc1, dx2, dg2, dc2, dx3, dg3, dc3, C, HW,
    K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, K3: tl.constexpr,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradients of gated messages. Those of channel gates are sums over one block of pixels."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.arange(0, BC)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    dy = tl.load(maps(grad, grad_width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    _gradients(dy, x0, w0, g0, gw0, c0, cw0, dx0, dg0, dc0, n, p, c, C, HW, K0, LAST)
    if K1 > 0:
        _gradients(dy, x1, w1, g1, gw1, c1, cw1, dx1, dg1, dc1, n, p, c, C, HW, K1, LAST)
    if K2 > 0:
        _gradients(dy, x2, w2, g2, gw2, c2, cw2, dx2, dg2, dc2, n, p, c, C, HW, K2, LAST)
    if K3 > 0:
        _gradients(dy, x3, w3, g3, gw3, c3, cw3, dx3, dg3, dc3, n, p, c, C, HW, K3, LAST)


@triton.jit
def _product(
    x, width, gate, gate_width, channel, channel_width, n, p, c, C, HW, KIND: tl.constexpr, LAST: tl.constexpr
):
    mask = (p < HW)[:, None] & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if KIND == 1:
        value *= channel_gate(gate, gate_width, n, c, C)[None, :]
    if KIND == 2 or KIND == 4:
        value *= pixel_gate(gate, gate_width, n, p, HW, LAST)[:, None]
    if KIND == 3:
        logits = tl.load(maps(gate, gate_width, n, p, c, HW, LAST), mask=mask, other=0.0)
        value *= tl.sigmoid(logits.to(tl.float32))
    if KIND == 4:
        value *= channel_gate(channel, channel_width, n, c, C)[None, :]
    return value


@triton.jit
def _gradients(
    dy, x, width, gate, gate_width, channel, channel_width, dx, dgate, dchannel, n, p, c, C, HW,
    KIND: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """With s the sigmoid of a logit, its gradient is dy x s (1 - s), times the other gate if there is one."""
    mask = (p < HW)[:, None] & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32) * dy
    dx_value = dy
    row = (tl.program_id(1) * tl.num_programs(0) + n) * C + c
    if KIND == 1:
        s = channel_gate(gate, gate_width, n, c, C)
        tl.store(dgate + row, tl.sum(value, 0) * s * (1 - s), mask=c < C)
        dx_value *= s[None, :]
    if KIND == 2:
        s = pixel_gate(gate, gate_width, n, p, HW, LAST)
        tl.store(dgate + n * HW + p, (tl.sum(value, 1) * s * (1 - s)).to(dgate.dtype.element_ty), mask=p < HW)
        dx_value *= s[:, None]
    if KIND == 3:
        s = tl.sigmoid(tl.load(maps(gate, gate_width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32))
        tl.store(maps(dgate, C, n, p, c, HW, LAST), (value * s * (1 - s)).to(dgate.dtype.element_ty), mask=mask)
        dx_value *= s
    if KIND == 4:
        s = pixel_gate(gate, gate_width, n, p, HW, LAST)
        t = channel_gate(channel, channel_width, n, c, C)
        by_pixel = tl.sum(value * t[None, :], 1) * s * (1 - s)
        tl.store(dgate + n * HW + p, by_pixel.to(dgate.dtype.element_ty), mask=p < HW)
        tl.store(dchannel + row, tl.sum(value * s[:, None], 0) * t * (1 - t), mask=c < C)
        dx_value *= s[:, None] * t[None, :]
    tl.store(maps(dx, C, n, p, c, HW, LAST), dx_value.to(dx.dtype.element_ty), mask=mask)


def begin_cbam(xs: Sequence[Tensor], x: Tensor, logits: Tensor) -> Begun:
    """As the plain form, without the scaled copy of x."""
    maps = channel_maps(x * logits.sigmoid())
    return Begun(xs, maps, logits)


def messages(begun: Sequence[Begun], logits: list[Tensor]) -> list[list[Message]]:
    """The messages of all edges, with logits in the place of gates."""
    return [_with_logits(one, own) for one, own in zip(begun, logits)]


def _with_logits(begun: Begun, logits: Tensor) -> list[Message]:
    count = len(begun.xs)
    parts = plain.edges(logits) if logits.dim() == 5 else logits.chunk(count, 1) if count > 1 else [logits]
    channels = [None] * count if begun.channel is None else plain.edges(begun.channel)
    return [Message(*parts) for parts in zip(begun.xs, parts, channels)]


def gated_sum(messages: Sequence[Message], like: Tensor, out: Tensor | None = None) -> Tensor:
    """As the plain form, with logits for gates."""
    if not messages or (len(messages) == 1 and messages[0].gate is None):
        return plain.gated_sum(messages, like, out)
    messages = list(messages)
    while len(messages) > _AT_ONCE:
        messages[:_AT_ONCE] = [Message(_sum(messages[:_AT_ONCE]))]
    return _sum(messages, out)


def _sum(messages: Sequence[Message], out: Tensor | None = None) -> Tensor:
    tensors = [tensor for message in messages for tensor in message]
    return _launch_sum(tensors, out) if out is not None else _GatedSum.apply(*tensors)


def _launch_sum(tensors: Sequence[Tensor | None], out: Tensor | None = None) -> Tensor:
    x: Any = tensors[0]
    last = is_last(x if out is None else out)
    if out is None:
        dtype = x.dtype
        for tensor in tensors:
            if tensor is not None and tensor.dtype != dtype:
                dtype = torch.promote_types(dtype, tensor.dtype)
        out = empty(x, last, dtype)
    arguments, kinds = _arguments(tensors, last)
    pixels = x.size(2) * x.size(3)
    high, wide, count = blocks(x.size(1), pixels)
    target, width = sliced(out, last)
    assert target is out
    grid = (x.size(0), count)
    sum_kernel[grid](out, width, *arguments, x.size(1), pixels, *kinds, LAST=last, BP=high, BC=wide)
    return out


def _arguments(tensors: Sequence[Tensor | None], last: bool) -> tuple[list[Any], list[int]]:
    """Tensors and widths of all messages, and their kinds, filled up to 4 messages."""
    arguments: list[Any] = []
    kinds = []
    for i in range(0, len(tensors), 3):
        x, gate, channel = tensors[i : i + 3]
        assert x is not None
        kind = _kind(x, gate, channel)
        kinds.append(kind)
        for tensor, in_format in ((x, last), (gate, last if kind != CHANNEL else True), (channel, True)):
            arguments += (None, 0) if tensor is None else sliced(tensor, in_format)
    missing = _AT_ONCE - len(kinds)
    return arguments + list(_NO_MESSAGE) * missing, kinds + [-1] * missing


def _kind(x: Tensor, gate: Tensor | None, channel: Tensor | None) -> int:
    if gate is None:
        return SKIP
    if channel is not None:
        return BOTH
    if gate.shape == x.shape:
        return FULL
    return CHANNEL if gate.size(1) == x.size(1) else PIXEL


def _plain_sum(*tensors: Tensor | None) -> Tensor:
    """The sum of gated messages, by plain operators."""
    total: Any = 0
    for i in range(0, len(tensors), 3):
        value: Any = tensors[i]
        for logits in tensors[i + 1 : i + 3]:
            value = value if logits is None else value * logits.sigmoid()
        total = total + value
    return total


class _GatedSum(Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor | None) -> Tensor:
        gated = [i for i in range(0, len(tensors), 3) if tensors[i + 1] is not None]
        ctx.gated = gated
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in tensors]
        ctx.save_for_backward(*(tensor for i in gated for tensor in tensors[i : i + 3]))
        return _launch_sum(tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        inputs = ctx.saved_tensors
        found: list[Tensor | None] = [
            grad.to(dtype) if dtype is not None and i % 3 == 0 and ctx.needs_input_grad[i] else None
            for i, dtype in enumerate(ctx.dtypes)
        ]
        if not ctx.gated:
            return tuple(found)
        if torch.is_grad_enabled():
            own = gradients(
                _plain_sum, inputs, [ctx.needs_input_grad[i + j] for i in ctx.gated for j in range(3)], grad
            )
        else:
            own = _launch_gradients(inputs, grad)
        for place, i in enumerate(ctx.gated):
            found[i : i + 3] = own[3 * place : 3 * place + 3]
        return tuple(found)


def _launch_gradients(inputs: Sequence[Tensor | None], grad: Tensor) -> list[Tensor | None]:
    x: Any = inputs[0]
    last = is_last(x)
    grad, grad_width = sliced(grad, last)
    arguments, kinds = _arguments(inputs, last)
    pixels = x.size(2) * x.size(3)
    high, wide, count = blocks(x.size(1), pixels)
    by_channel = [i for i, kind in enumerate(kinds) if kind in (CHANNEL, BOTH)]
    partial: Any = x.new_empty((len(by_channel), count, x.size(0), x.size(1)), dtype=torch.float32)
    found: list[Any] = []
    for i in range(0, len(inputs), 3):
        found += [None if tensor is None else empty(tensor, last) for tensor in inputs[i : i + 3]]
    targets = list(found)
    for place, i in enumerate(by_channel):
        targets[3 * i + (1 if kinds[i] == CHANNEL else 2)] = partial[place]
    targets += [None] * (3 * _AT_ONCE - len(targets))
    grid = (x.size(0), count)
    gradient_kernel[grid](
        grad, grad_width, *arguments, *targets, x.size(1), pixels, *kinds, LAST=last, BP=high, BC=wide
    )
    if by_channel:
        sums = partial.sum(1)
        for place, i in enumerate(by_channel):
            at = 3 * i + (1 if kinds[i] == CHANNEL else 2)
            found[at] = sums[place].view_as(found[at]).to(found[at].dtype)
    return found
