"""Channel attention on pooled features: both layers in one launch, and all gradients in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.kernels import mlps as plain
from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.fast.triton.launch import gradients

_CHANNELS = 64  # of a block
_MOST_PARTS = 512  # that a kernel adds; more are added before


@triton.jit
def _sum_of_parts(x, row, rows, parts, c, C, PARTS: tl.constexpr):
    """Channels c of a row of ``(parts, rows, C)``, added over the parts if there are several (PARTS)."""
    if PARTS:
        total = tl.zeros_like(c).to(tl.float32)
        for start in range(0, parts, 32):
            b = start + tl.arange(0, 32)
            mask = (b < parts)[:, None] & (c < C)[None, :]
            total += tl.sum(tl.load(x + (b[:, None] * rows + row) * C + c[None, :], mask=mask, other=0.0), 0)
    else:
        total = tl.load(x + row * C + c, mask=c < C, other=0.0).to(tl.float32)
    return total


@triton.jit
def forward_kernel(
    pooled, squeeze, squeeze_bias, excite, excite_bias, means, hidden, out, C, H, stride, parts, PARTS: tl.constexpr,
    SHARED: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, P: tl.constexpr, BH: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The logits of one edge of one image, and its hidden layer for each pooling. A row of excite has ``stride``.

    PARTS: whether pooled has several parts, whose sums are stored in means. B1, B2: whether the layers have biases.
    """
    n, e, edges = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    h = tl.arange(0, BH)
    source = n if SHARED else n * edges + e
    sources = tl.num_programs(0) * (1 if SHARED else edges)
    total = tl.zeros((BH,), tl.float32)
    for q in tl.static_range(P):
        value = tl.zeros((BH,), tl.float32)
        for start in range(0, C, BC):
            c = start + tl.arange(0, BC)
            mask = (h < H)[:, None] & (c < C)[None, :]
            w = tl.load(squeeze + (e * H + h)[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)
            x = _sum_of_parts(pooled, source * P + q, sources * P, parts, c, C, PARTS)
            if PARTS:
                tl.store(means + (source * P + q) * C + c, x, mask=c < C)
            value += tl.sum(w * x[None, :], 1)
        if B1:
            value += tl.load(squeeze_bias + e * H + h, mask=h < H, other=0.0).to(tl.float32)
        value = tl.where(value < 0, 0.0, value)  # a ReLU that keeps NaN
        tl.store(hidden + ((n * edges + e) * P + q) * H + h, value, mask=h < H)
        total += value
    for start in range(0, C, BC):
        c = start + tl.arange(0, BC)
        mask = (c < C)[:, None] & (h < H)[None, :]
        w = tl.load(excite + (e * C + c)[:, None] * stride + h[None, :], mask=mask, other=0.0).to(tl.float32)
        logits = tl.sum(w * total[None, :], 1)
        if B2:
            logits += P * tl.load(excite_bias + e * C + c, mask=c < C, other=0.0).to(tl.float32)
        tl.store(out + (n * edges + e) * C + c, logits.to(out.dtype.element_ty), mask=c < C)


@triton.jit
def input_gradient_kernel(
    grad, squeeze, excite, hidden, sums, dhidden, dpooled, C, H, parts,
    PARTS: tl.constexpr, P: tl.constexpr, BH: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradients of the hidden layer before its ReLU, and of the pooled features, for one edge of one image.

    PARTS: whether grad has several parts, whose sums are stored.
    """
    n, e, edges = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    row = n * edges + e
    h = tl.arange(0, BH)
    total = tl.zeros((BH,), tl.float32)
    for start in range(0, C, BC):
        c = start + tl.arange(0, BC)
        mask = (c < C)[:, None] & (h < H)[None, :]
        w = tl.load(excite + (e * C + c)[:, None] * H + h[None, :], mask=mask, other=0.0).to(tl.float32)
        dy = _sum_of_parts(grad, row, tl.num_programs(0) * edges, parts, c, C, PARTS)
        if PARTS:
            tl.store(sums + row * C + c, dy, mask=c < C)
        total += tl.sum(w * dy[:, None], 0)
    for q in tl.static_range(P):
        value = tl.load(hidden + (row * P + q) * H + h, mask=h < H, other=0.0)
        dh = tl.where(value <= 0, 0.0, total)
        tl.store(dhidden + (row * P + q) * H + h, dh, mask=h < H)
        for start in range(0, C, BC):
            c = start + tl.arange(0, BC)
            mask = (h < H)[:, None] & (c < C)[None, :]
            w = tl.load(squeeze + (e * H + h)[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)
            dx = tl.sum(w * dh[:, None], 0)
            tl.store(dpooled + (row * P + q) * C + c, dx.to(dpooled.dtype.element_ty), mask=c < C)


@triton.jit
def weight_gradient_kernel(
    grad, pooled, hidden, dhidden, dsqueeze, dsqueeze_bias, dexcite, dexcite_bias, N, C, H,
    SHARED: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, P: tl.constexpr, BH: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradients of the weights of one edge, for one block of channels; the first block has those of H biases."""
    e, edges = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    h = tl.arange(0, BH)
    squeezes = tl.zeros((BH, BC), tl.float32)
    excites = tl.zeros((BC, BH), tl.float32)
    squeeze_biases = tl.zeros((BH,), tl.float32)
    excite_biases = tl.zeros((BC,), tl.float32)
    for n in range(N):
        row = n * edges + e
        source = n if SHARED else row
        dy = tl.load(grad + row * C + c, mask=c < C, other=0.0).to(tl.float32)
        excite_biases += P * dy
        for q in tl.static_range(P):
            value = tl.load(hidden + (row * P + q) * H + h, mask=h < H, other=0.0)
            dh = tl.load(dhidden + (row * P + q) * H + h, mask=h < H, other=0.0)
            x = tl.load(pooled + (source * P + q) * C + c, mask=c < C, other=0.0).to(tl.float32)
            excites += dy[:, None] * value[None, :]
            squeezes += dh[:, None] * x[None, :]
            squeeze_biases += dh
    wide, high = (c < C)[None, :] & (h < H)[:, None], (c < C)[:, None] & (h < H)[None, :]
    tl.store(dsqueeze + (e * H + h)[:, None] * C + c[None, :], squeezes.to(dsqueeze.dtype.element_ty), mask=wide)
    tl.store(dexcite + (e * C + c)[:, None] * H + h[None, :], excites.to(dexcite.dtype.element_ty), mask=high)
    if B2:
        tl.store(dexcite_bias + e * C + c, excite_biases.to(dexcite_bias.dtype.element_ty), mask=c < C)
    if B1:
        first = (h < H) & (tl.program_id(1) == 0)
        tl.store(dsqueeze_bias + e * H + h, squeeze_biases.to(dsqueeze_bias.dtype.element_ty), mask=first)


def channel_logits(pooled: Tensor, mlp: Mlp, poolings: int = 1) -> Tensor:
    """As the plain form: ``(N, E or 1, P, C)`` to ``(N, E, C)``.

    Fused weights, whose second layer is repeated for each pooling, have gradients in the plain form only.
    """
    repeated = mlp.excite.size(2) != mlp.squeeze.size(1)
    if repeated and torch.is_grad_enabled():
        return plain.channel_logits(pooled, mlp, poolings)
    return _Logits.apply(poolings, pooled, *mlp)


class _Logits(Function):
    @staticmethod
    def forward(ctx: Any, poolings: int, pooled: Tensor, *weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(pooled, *weights)
        logits, ctx.hidden, _ = run(pooled[None], weights)
        return logits

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        pooled, *weights = ctx.saved_tensors
        poolings = ctx.hidden.size(2)
        if torch.is_grad_enabled():

            def logits(pooled: Tensor, *weights: Tensor) -> Tensor:
                return plain.channel_logits(pooled, Mlp(*weights), poolings)

            return None, *gradients(logits, (pooled, *weights), ctx.needs_input_grad[1:], grad)
        return None, *run_backward(grad[None], pooled, ctx.hidden, weights, any(ctx.needs_input_grad[2:]))


def run(pooled: Tensor, weights: Sequence[Tensor | None]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``(N, E, C)``, the hidden layer ``(N, E, P, H)``, and the sum over the parts of pooled.

    Args:
        pooled: ``(parts, N, E or 1, P, C)``.
        weights: of an :class:`Mlp`.
    """
    pooled, mlp = _few(pooled), _contiguous(weights)
    (parts, images, inputs, poolings, _), (edges, units, channels) = pooled.shape, mlp.squeeze.shape
    hidden = pooled.new_empty((images, edges, poolings, units), dtype=torch.float32)
    out = pooled.new_empty((images, edges, channels))
    means = pooled[0] if parts == 1 else torch.empty_like(pooled[0])
    forward_kernel[(images, edges)](
        pooled, *mlp, means, hidden, out, channels, units, mlp.excite.size(2), parts, PARTS=parts > 1,
        SHARED=inputs != edges, P=poolings, **_biases(mlp), **_blocks(units, channels),
    )  # fmt: skip
    return out, hidden, means


def run_backward(
    grad: Tensor, pooled: Tensor, hidden: Tensor, weights: Sequence[Tensor | None], learned: bool
) -> list[Tensor | None]:
    """The gradients of pooled, ``(N, E or 1, P, C)``, and of the weights if they are ``learned``.

    Args:
        grad: of the logits, ``(parts, N, E, C)``.
    """
    shape, pooled, grad, mlp = pooled.shape, pooled.contiguous(), _few(grad), _contiguous(weights)
    parts, (images, edges, poolings, units), channels = len(grad), hidden.shape, mlp.squeeze.size(2)
    sums = grad[0] if parts == 1 else torch.empty_like(grad[0])
    dhidden = torch.empty_like(hidden)
    dpooled = pooled.new_empty((images, edges, poolings, channels))
    sizes, tiles = (channels, units), _blocks(units, channels)
    input_gradient_kernel[(images, edges)](
        grad, mlp.squeeze, mlp.excite, hidden, sums, dhidden, dpooled, *sizes, parts,
        PARTS=parts > 1, P=poolings, **tiles,
    )  # fmt: skip
    dweights = [None if weight is None or not learned else torch.empty_like(weight) for weight in mlp]
    if learned:
        weight_gradient_kernel[(edges, triton.cdiv(channels, tiles['BC']))](
            sums, pooled, hidden, dhidden, *dweights, images, *sizes,
            SHARED=shape[1] != edges, P=poolings, **_biases(mlp), **tiles,
        )  # fmt: skip
    return [dpooled if shape[1] == edges else dpooled.sum(1, keepdim=True), *dweights]


def _few(parts: Tensor) -> Tensor:
    """Parts of a sum that a kernel can add quickly."""
    return (parts.sum(0, keepdim=True) if len(parts) > _MOST_PARTS else parts).contiguous()


def _contiguous(weights: Any) -> Mlp:
    return Mlp(*(None if weight is None else weight.contiguous() for weight in weights))  # type: ignore[arg-type]


def _biases(mlp: Mlp) -> dict[str, bool]:
    return {'B1': mlp.squeeze_bias is not None, 'B2': mlp.excite_bias is not None}


def _blocks(units: int, channels: int) -> dict[str, int]:
    high = triton.next_power_of_2(units)
    return {'BH': high, 'BC': min(triton.next_power_of_2(channels), max(1, min(_CHANNELS, 4096 // high)))}
