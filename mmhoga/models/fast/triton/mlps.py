"""Channel attention on pooled features: both layers in one launch, and all gradients in two."""

from __future__ import annotations

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


@triton.jit
def forward_kernel(
    pooled, squeeze, squeeze_bias, excite, excite_bias, hidden, out, C, H, stride,
    SHARED: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, P: tl.constexpr, BH: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The logits of one edge of one image, and its hidden layer for each pooling. A row of excite has ``stride``.

    B1, B2: whether the layers have biases.
    """
    n, e, edges = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    h = tl.arange(0, BH)
    source = n if SHARED else n * edges + e
    total = tl.zeros((BH,), tl.float32)
    for q in tl.static_range(P):
        value = tl.zeros((BH,), tl.float32)
        for start in range(0, C, BC):
            c = start + tl.arange(0, BC)
            mask = (h < H)[:, None] & (c < C)[None, :]
            w = tl.load(squeeze + (e * H + h)[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)
            x = tl.load(pooled + (source * P + q) * C + c, mask=c < C, other=0.0).to(tl.float32)
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
    grad, squeeze, excite, hidden, dhidden, dpooled, C, H, P: tl.constexpr, BH: tl.constexpr, BC: tl.constexpr
):
    """The gradients of the hidden layer before its ReLU, and of the pooled features, for one edge of one image."""
    n, e, edges = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    row = n * edges + e
    h = tl.arange(0, BH)
    total = tl.zeros((BH,), tl.float32)
    for start in range(0, C, BC):
        c = start + tl.arange(0, BC)
        mask = (c < C)[:, None] & (h < H)[None, :]
        w = tl.load(excite + (e * C + c)[:, None] * H + h[None, :], mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(grad + row * C + c, mask=c < C, other=0.0).to(tl.float32)
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
        pooled, mlp = pooled.contiguous(), _contiguous(weights)
        images, (edges, units, channels) = pooled.size(0), mlp.squeeze.shape
        hidden = pooled.new_empty((images, edges, poolings, units), dtype=torch.float32)
        out = pooled.new_empty((images, edges, channels))
        forward_kernel[(images, edges)](
            pooled, *mlp, hidden, out, channels, units, mlp.excite.size(2),
            SHARED=pooled.size(1) != edges, P=poolings, **_biases(mlp), **_blocks(units, channels),
        )  # fmt: skip
        ctx.hidden = hidden
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        pooled, *weights = ctx.saved_tensors
        poolings = ctx.hidden.size(2)
        if torch.is_grad_enabled():

            def logits(pooled: Tensor, *weights: Tensor) -> Tensor:
                return plain.channel_logits(pooled, Mlp(*weights), poolings)

            return None, *gradients(logits, (pooled, *weights), ctx.needs_input_grad[1:], grad)
        shape, pooled, grad, mlp = pooled.shape, pooled.contiguous(), grad.contiguous(), _contiguous(weights)
        images, (edges, units, channels) = pooled.size(0), mlp.squeeze.shape
        dhidden = torch.empty_like(ctx.hidden)
        dpooled = pooled.new_empty((images, edges, poolings, channels))
        sizes, parts = (channels, units), _blocks(units, channels)
        input_gradient_kernel[(images, edges)](
            grad, mlp.squeeze, mlp.excite, ctx.hidden, dhidden, dpooled, *sizes, P=poolings, **parts
        )
        dweights = [None if weight is None else torch.empty_like(weight) for weight in mlp]
        if any(ctx.needs_input_grad[2:]):
            weight_gradient_kernel[(edges, triton.cdiv(channels, parts['BC']))](
                grad, pooled, ctx.hidden, dhidden, *dweights, images, *sizes,
                SHARED=shape[1] != edges, P=poolings, **_biases(mlp), **parts,
            )  # fmt: skip
        return None, dpooled if shape[1] == edges else dpooled.sum(1, keepdim=True), *dweights


def _contiguous(weights: Any) -> Mlp:
    return Mlp(*(None if weight is None else weight.contiguous() for weight in weights))  # type: ignore[arg-type]


def _biases(mlp: Mlp) -> dict[str, bool]:
    return {'B1': mlp.squeeze_bias is not None, 'B2': mlp.excite_bias is not None}


def _blocks(units: int, channels: int) -> dict[str, int]:
    high = triton.next_power_of_2(units)
    return {'BH': high, 'BC': min(triton.next_power_of_2(channels), max(1, min(_CHANNELS, 4096 // high)))}
