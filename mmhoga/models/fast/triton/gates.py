"""Sums of gated inputs in one launch, and one for all gradients. Gates are read as logits and never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.kernels import gates as plain
from mmhoga.models.fast.kernels.gates import Begun, Message
from mmhoga.models.fast.triton.gate_kernels import gradient_kernel, sum_kernel
from mmhoga.models.fast.triton.launch import gradients
from mmhoga.models.fast.triton.pools import channel_maps
from mmhoga.models.fast.triton.slices import blocks, empty, is_last, sliced

# Kinds of gates: none, (N, C, 1, 1), (N, 1, H, W), (N, C, H, W), and the first two together.
SKIP, CHANNEL, PIXEL, FULL, BOTH = range(5)
_AT_ONCE = 4  # messages in one launch
_NO_MESSAGE = (None, 0, None, 0, None, 0)


def shared(x: Tensor, uses: int) -> list[Tensor]:
    """The same tensor for several uses, whose gradients are added in one launch. Not all need be used."""
    return list(_Shared.apply(x, uses)) if torch.is_grad_enabled() and x.requires_grad else [x] * uses


class _Shared(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, uses: int) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(x.view_as(x) for _ in range(uses))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        parts = [Message(grad) for grad in grads if grad is not None]
        return (gated_sum(parts, parts[0].x) if parts else None), None


def begin_cbam(xs: Sequence[Tensor], x: Tensor, logits: Tensor) -> Begun:
    """As the plain form, without the scaled copy of x."""
    return Begun(xs, channel_maps(x, logits), logits)


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
