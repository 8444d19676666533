"""Gates of edges, and sums of gated inputs, by plain operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmhoga.models.fast.kernels.modes import traced
from mmhoga.models.fast.kernels.pools import add_product, channel_maps


class Message(NamedTuple):
    """``gate * x``, or ``x`` without a gate: ``(N, C, H, W)``.

    Kernels in Triton have the logits of the gate in its place, and may have those of a second one, ``(N, C, 1, 1)``.
    """

    x: Tensor
    gate: Tensor | None = None
    channel: Tensor | None = None


class Begun(NamedTuple):
    """Edges of one primitive before their convolutions: their inputs, and the maps that become logits.

    ``channel`` has the logits of the first gate of CBAM if it is not yet in ``xs``.
    """

    xs: Sequence[Tensor]
    maps: Tensor
    channel: Tensor | None = None


def begin_cbam(xs: Sequence[Tensor], x: Tensor, logits: Tensor) -> Begun:
    """The first half of Eq. (8): channel attention, and the maps for the spatial attention.

    Args:
        xs: the inputs of E edges.
        x: the same, ``(N, E or 1, C, H, W)``.
        logits: ``(N, E, C, 1, 1)``.
    """
    x = x * logits.sigmoid()
    return Begun(edges(x), channel_maps(x))


def messages(begun: Sequence[Begun], logits: list[Tensor]) -> list[list[Message]]:
    """The messages of all edges, from the logits of their gates."""
    return [_gated(one, gates) for one, gates in zip(begun, _sigmoid(logits))]


def _gated(begun: Begun, gates: Tensor) -> list[Message]:
    xs, count = begun.xs, len(begun.xs)
    if gates.dim() == 5:
        return [Message(x, gate) for x, gate in zip(xs, edges(gates))]
    if count == 1:
        return [Message(xs[0], gates)]
    if gates.size(1) > count and torch.is_grad_enabled():  # normalization attention: one product for all edges
        return [Message(x) for x in (begun.maps * gates).chunk(count, 1)]
    return [Message(x, gate) for x, gate in zip(xs, gates.chunk(count, 1))]


def gated_sum(messages: Sequence[Message], like: Tensor, out: Tensor | None = None) -> Tensor:
    """The sum of messages, zero if there are none; a new tensor, that of the only message, or ``out``."""
    if not messages:
        return torch.zeros_like(like) if out is None else out.zero_()
    first, *others = sorted(messages, key=lambda message: message.gate is not None)
    only = None if others else out
    if first.gate is not None:
        total = torch.mul(first.x, first.gate, out=only)
    else:
        total = first.x if only is None else only.copy_(first.x)
    for i, (x, gate, _) in enumerate(others, start=1):
        last = out if i == len(others) else None
        total = torch.add(total, x, out=last) if gate is None else add_product(total, x, gate, out=last)
    return total


def edges(x: Tensor) -> list[Tensor]:
    """The tensors along dimension 1."""
    return [x.squeeze(1)] if x.size(1) == 1 else list(x.unbind(1))


def relu(maps: list[Tensor]) -> list[Tensor]:
    if _together(maps):
        torch._foreach_clamp_min_(maps, 0)
        return maps
    return [x.relu_() for x in maps]


def _sigmoid(maps: list[Tensor]) -> list[Tensor]:
    if _together(maps):
        torch._foreach_sigmoid_(maps)
        return maps
    return [x.sigmoid() for x in maps]


def _together(maps: list[Tensor]) -> bool:
    """Whether one call, which is one kernel on a GPU, can replace several: in place, so without gradients."""
    return len(maps) > 1 and not torch.is_grad_enabled() and not traced()
