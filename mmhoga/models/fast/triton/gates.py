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
AT_ONCE = 4  # messages in one launch
_USES = 6  # of their sum, whose gradients one launch adds
_NO_MESSAGE = (None, 0, None, 0, None, 0)


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


def gated_sum(messages: Sequence[Message], like: Tensor, out: Tensor | None = None, uses: int = 1) -> list[Tensor]:
    """As the plain form, with logits for gates: the same tensor for each of its uses.

    The gradients of the uses are added in the launch for those of the messages.
    """
    if not messages:
        return [plain.gated_sum(messages, like, out)] * uses
    messages = list(messages)
    while len(messages) > AT_ONCE:
        messages[:AT_ONCE] = [Message(*_sum(messages[:AT_ONCE]))]
    return _sum(messages, out, uses)


def _sum(messages: Sequence[Message], out: Tensor | None = None, uses: int = 1) -> list[Tensor]:
    tensors = [tensor for message in messages for tensor in message]
    if torch.is_grad_enabled():
        return list(_GatedSum.apply((out, uses), *tensors))
    return [launch_sum(tensors, out)] * uses


def launch_sum(
    tensors: Sequence[Tensor | None], out: Tensor | None = None, copy: Tensor | None = None, pool: bool = False
) -> Any:
    """The sum of at most 4 gated inputs.

    Args:
        tensors: of all messages, one after the other.
        out: the result.
        copy: where the first message is also written.
        pool: return the sum and its means over pixels, in parts: ``(blocks, N, 1, 1, C)``.
    """
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
    copies = (None, 0) if copy is None else sliced(copy, last)
    assert copies[0] is copy
    parts = x.new_empty((count, x.size(0), 1, 1, x.size(1)), dtype=torch.float32) if pool else None
    sum_kernel[(x.size(0), count)](
        out, width, *arguments, *copies, parts, x.size(1), pixels, *kinds,
        COPY=copy is not None, POOL=pool, LAST=last, BP=high, BC=wide,
    )  # fmt: skip
    return (out, parts) if pool else out


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
    missing = AT_ONCE - len(kinds)
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
    def forward(ctx: Any, target: tuple[Tensor | None, int], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        out, uses = target
        ctx.set_materialize_grads(False)
        gated = [i for i in range(0, len(tensors), 3) if tensors[i + 1] is not None]
        ctx.gated = gated
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in tensors]
        ctx.save_for_backward(*(tensor for i in gated for tensor in tensors[i : i + 3]))
        total = launch_sum(tensors, out)
        return tuple(total.data for _ in range(uses))  # not views: the rest of a larger tensor is written later

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        inputs = ctx.saved_tensors
        parts = [grad for grad in grads if grad is not None]
        if not parts:
            return (None,) * (1 + len(ctx.dtypes))
        own: list[Tensor | None] = []
        grad: Any = parts[0]
        if torch.is_grad_enabled() or not ctx.gated:
            grad = grad if len(parts) == 1 else _added(parts)
            if ctx.gated:
                needed = [ctx.needs_input_grad[1 + i + j] for i in ctx.gated for j in range(3)]
                own = gradients(_plain_sum, inputs, needed, grad)
        else:
            skips = 3 * len(ctx.gated) < len(ctx.dtypes) and len(parts) > 1
            own = _launch_gradients([*inputs, grad, None, None] if skips else inputs, parts)
            grad = own[-3] if skips else grad
        found: list[Tensor | None] = [
            grad.to(dtype) if dtype is not None and i % 3 == 0 and ctx.needs_input_grad[1 + i] else None
            for i, dtype in enumerate(ctx.dtypes)
        ]
        for place, i in enumerate(ctx.gated):
            found[i : i + 3] = own[3 * place : 3 * place + 3]
        return None, *found


def _added(parts: Sequence[Tensor]) -> Tensor:
    return gated_sum([Message(part) for part in parts], parts[0])[0]


def _launch_gradients(inputs: Sequence[Tensor | None], grads: Sequence[Tensor]) -> list[Tensor | None]:
    x: Any = inputs[0]
    last = is_last(x)
    if len(grads) > _USES:
        grads = [_added(grads[: 1 - _USES]), *grads[1 - _USES :]]
    uses = [argument for grad in grads for argument in sliced(grad, last)] + [None, 0] * (_USES - len(grads))
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
    targets += [None] * (3 * AT_ONCE - len(targets))
    gradient_kernel[(x.size(0), count)](
        *uses, *arguments, *targets, x.size(1), pixels, len(grads), *kinds, LAST=last, BP=high, BC=wide
    )
    if by_channel:
        sums = partial.sum(1)
        for place, i in enumerate(by_channel):
            at = 3 * i + (1 if kinds[i] == CHANNEL else 2)
            found[at] = sums[place].view_as(found[at]).to(found[at].dtype)
    return found
