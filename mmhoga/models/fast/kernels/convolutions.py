"""Convolutions with cheaper hand-written backward passes or a faster path for channels_last.

All can be differentiated twice.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function

from mmhoga.models.fast.kernels.modes import fusible, is_channels_last, traced
from mmhoga.models.fast.kernels.norms import Norm, channels_last

# Up to this number of input maps a convolution has little arithmetic.
FUSED_MAPS = 4


def separable(
    x: Tensor, depthwise: Tensor, pointwise: Tensor, *, dilation: int = 1, groups: int = 1, norm: Norm | None = None
) -> Tensor:
    """A depth-wise convolution that keeps the size, then a point-wise one; the result between them is not stored.

    With a ``norm``, this and a ReLU come first, and their results are not stored either.

    On a CPU with oneDNN:

    - The gradient with respect to x is computed as a depth-wise convolution with the mirrored kernel, as fast as the
      forward pass. With a dilation, the "backward data" primitive of oneDNN takes 6 times as long.
    - Depth-wise convolutions are 3 times faster in channels_last, but batch norms of few channels are up to 60 times
      slower. The point-wise convolution is a matrix product, which reads channels_last and writes a contiguous result.

    Args:
        x: ``(N, C, H, W)``.
        depthwise: ``(C, 1, k, k)``, k odd.
        pointwise: ``(D, C / groups, 1, 1)``.
    """
    return _Separable.apply(x, depthwise, pointwise, dilation, groups, norm)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """A 1x1 convolution that is a matrix product for channels_last inputs and for single pixels.

    - Cells with 512 channels at 7x7 (batch 8) train 12 % faster; with 64 channels at 56x56 there is no gain.
    - With groups, the products of all groups are one call. For 3 groups of 16 maps of 56x56 (batch 8, one thread) it
      takes 0.9 ms, where the convolution takes 6.4 ms.

    Args:
        x: ``(N, C, H, W)``.
        weight: ``(D, C / groups, 1, 1)``.
        bias: ``(D,)``.
    """
    if not is_channels_last(x):
        return F.conv2d(x, weight, bias, groups=groups)
    if groups == 1:
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    # Autocast converts the weights of a convolution, but not those of the autograd function.
    if x.dtype != weight.dtype or (traced() and not fusible()):
        return F.conv2d(x, weight, bias, groups=groups)
    blocks = _blocks(weight, groups)
    bias = None if bias is None else bias.view(groups, 1, -1)
    if not traced():
        return _GroupedPointwise.apply(x, blocks, bias)
    rows = torch.bmm(_rows(x, groups), blocks.mT) + (0 if bias is None else bias)
    return rows.transpose(0, 1).reshape(x.size(0), *x.shape[2:], -1).permute(0, 3, 1, 2)


def convolve(x: Tensor, conv: Any) -> Tensor:
    """A convolution that keeps the size, with the attributes of an ``nn.Conv2d``.

    ``torch.compile`` gets a narrow one as a sum over the elements of the kernel, which it fuses with its neighbours.
    """
    if fusible() and conv.weight.size(-1) <= 3 and x.size(1) <= FUSED_MAPS:
        return _shifted_sum(x, conv)
    if conv.weight.size(-1) == 1 and x.size(1) > FUSED_MAPS:
        return pointwise(x, conv.weight, conv.bias, conv.groups)
    return F.conv2d(x, conv.weight, conv.bias, 1, conv.padding, conv.dilation, conv.groups)


class PointwiseConv2d(nn.Conv2d):
    """:func:`pointwise` with its weights."""

    def __init__(self, inputs: int, outputs: int, groups: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x, self.weight, self.bias, self.groups)


def _shifted_sum(x: Tensor, conv: Any) -> Tensor:
    """A convolution as a sum over its elements and input maps."""
    (rows, columns), size, (margin, *_), (step, *_) = x.shape[2:], conv.weight.size(-1), conv.padding, conv.dilation
    inputs = F.pad(x, [margin] * 4).unflatten(1, (conv.groups, 1, -1))
    weight = conv.weight.unflatten(0, (conv.groups, -1))[..., None, None]  # (G, O, I, k, k, 1, 1)
    total = sum(
        inputs[:, :, :, m, step * i : step * i + rows, step * j : step * j + columns] * weight[:, :, m, i, j]
        for m in range(conv.weight.size(1))
        for i in range(size)
        for j in range(size)
    ).flatten(1, 2)
    return total if conv.bias is None else total + conv.bias.view(-1, 1, 1)


class _GroupedPointwise(Function):
    """``x`` ``(N, G * I, H, W)`` in channels_last, ``blocks`` ``(G, O, I)``, ``bias`` ``(G, 1, O)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, blocks)
        ctx.biased = bias is not None
        groups, outputs, _ = blocks.shape
        shape = (len(x), groups * outputs, *x.shape[2:])
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        if bias is None:
            torch.bmm(_rows(x, groups), blocks.mT, out=_rows(y, groups))
        else:
            torch.baddbmm(bias, _rows(x, groups), blocks.mT, out=_rows(y, groups))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, blocks = ctx.saved_tensors
        grad = channels_last(grad)
        rows = _rows(grad, len(blocks))
        return (
            _GroupedPointwise.apply(grad, blocks.mT, None) if ctx.needs_input_grad[0] else None,
            torch.bmm(rows.mT, _rows(x, len(blocks))) if ctx.needs_input_grad[1] else None,
            rows.sum(1, keepdim=True) if ctx.biased else None,
        )


class _Separable(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, depthwise: Tensor, pointwise: Tensor, dilation: int, groups: int, norm: Norm | None
    ) -> Tensor:
        ctx.dilation, ctx.groups, ctx.norm = dilation, groups, norm
        maps, saved = (x, (None, None)) if norm is None else norm.forward(x)
        ctx.save_for_backward(x, depthwise, pointwise, *saved)
        maps = channels_last(maps if norm is None else maps.relu_())
        return _pointwise(_depthwise(maps, depthwise, dilation), pointwise, groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # Under autocast the gradient has a lower precision than the inputs.
        *inputs, mean, inverse = ctx.saved_tensors  # read once: activation checkpointing unpacks each tensor once
        x, depthwise, pointwise = (tensor.to(grad.dtype) for tensor in inputs)
        need_x, need_depthwise, need_pointwise, *_ = ctx.needs_input_grad
        activation = x if ctx.norm is None else ctx.norm.recompute(x, mean, inverse).relu()
        maps = channels_last(activation)
        grads: list[Any] = [None] * 3
        if need_pointwise:
            grads[2] = _pointwise_weight_grad(grad, _depthwise(maps, depthwise, ctx.dilation), ctx.groups)
        grad = _pointwise_input_grad(grad, pointwise, ctx.groups)
        if need_depthwise:
            grads[1] = _depthwise_weight_grad(grad, maps, depthwise, ctx.dilation)
        if need_x:
            grads[0] = _depthwise(grad, depthwise.flip(2, 3), ctx.dilation)
            if ctx.norm is not None:
                grad = torch.ops.aten.threshold_backward(grads[0].contiguous(), activation, 0)
                grads[0] = ctx.norm.backward(grad, x, mean, inverse)
        typed = [g if g is None else g.to(tensor.dtype) for g, tensor in zip(grads, inputs)]
        return *typed, None, None, None


def _depthwise(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return F.conv2d(x, weight, padding=dilation * (weight.size(-1) // 2), dilation=dilation, groups=len(weight))


def _depthwise_weight_grad(grad: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding = dilation * (weight.size(-1) // 2)
    geometry = ([1, 1], [padding] * 2, [dilation] * 2, False, [0, 0], len(weight))
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *geometry, [False, True, False])[1]


def _pointwise(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    return (_blocks(weight, groups) @ _maps(x, groups)).view(len(x), len(weight), *x.shape[2:])


def _pointwise_input_grad(grad: Tensor, weight: Tensor, groups: int) -> Tensor:
    if len(grad) == 1 and torch.is_grad_enabled():
        # Differentiated twice before a batch norm, the products below are wrong for one image (torch 2.14 on a CPU).
        return F.conv_transpose2d(grad, weight, groups=groups)
    pixels = (_maps(grad, groups).mT @ _blocks(weight, groups)).transpose(1, 2)  # (N, H W, G, C / G)
    return pixels.reshape(len(grad), *grad.shape[2:], -1).permute(0, 3, 1, 2)


def _pointwise_weight_grad(grad: Tensor, x: Tensor, groups: int) -> Tensor:
    return (_maps(grad, groups) @ _maps(x, groups).mT).sum(0).flatten(0, 1)[..., None, None]


def _maps(x: Tensor, groups: int) -> Tensor:
    """``(N, G, C / G, H W)``."""
    return x.view(len(x), groups, x.size(1) // groups, -1)


def _blocks(weight: Tensor, groups: int) -> Tensor:
    """``(G, D / G, C / G)``."""
    return weight.view(groups, len(weight) // groups, -1)


def _rows(x: Tensor, groups: int) -> Tensor:
    """A view ``(G, N H W, C / G)`` of ``(N, C, H, W)`` in channels_last."""
    return x.permute(0, 2, 3, 1).view(-1, groups, x.size(1) // groups).transpose(0, 1)
