"""Autograd functions with cheaper hand-written backward passes, and two layers with a faster path for channels_last.

All can be differentiated twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active
from torch.autograd import forward_ad
from torch.autograd.function import Function

# On a CPU torch does not vectorise a channels_last batch norm of fewer channels; it is several times slower.
NARROW = 16

# Missing before torch 2.1.
_is_compiling = getattr(getattr(torch, 'compiler', None), 'is_compiling', lambda: False)
_is_dynamo_compiling = getattr(getattr(torch, 'compiler', None), 'is_dynamo_compiling', lambda: False)
# Missing before torch 2.6.
_is_exporting = getattr(getattr(torch, 'compiler', None), 'is_exporting', lambda: False)

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


def channel_pool(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Maximum and mean over channels of ``x``, or of ``scale * x`` (not stored): ``(N, E, 2, H, W)``.

    The order is that of the released code; the paper has [avg; max], which only permutes the weights. Equal maxima
    share the gradient evenly, as in ``torch.amax``, whose backward pass takes 3 times as long.

    Args:
        x: ``(N, E, C, H, W)``; or with a scale ``(N, 1, C, H, W)``, one for all edges.
        scale: ``(N, E, C, 1, 1)``.
    """
    if torch.jit.is_tracing() or transformed():
        return _pool(x if scale is None else x * scale, 2)
    return _Pool.apply(x, scale, 2)


def pixel_pool(x: Tensor) -> Tensor:
    """Maximum and mean over pixels: ``(N, E, C, H, W) -> (N, E, 2, C)``."""
    x = x.flatten(-2)
    return _pool(x, -1) if torch.jit.is_tracing() or transformed() else _Pool.apply(x, None, -1)


def weighted_gates(x: Tensor, weight: Tensor, norm: Norm) -> Tensor:
    """``(weight * norm(x).sigmoid()).sum(1)``; neither the norm's output nor the gates nor the products are stored.

    Args:
        x: ``(N, M, ..., H, W)``.
        weight: broadcasts to the shape of x, with size 1 in the first and the last two dimensions.
        norm: over all ``M * ...`` channels.
    """
    return _WeightedGates.apply(x, weight, norm)


def pixel_mean(x: Tensor) -> Tensor:
    """``(..., H, W) -> (..., 1, 1)``. The backward pass scales the small gradient and expands it."""
    return x.mean((-2, -1), keepdim=True) if traced() or transformed() else _PixelMean.apply(x)


def group_sum(x: Tensor, groups: int) -> Tensor:
    """The sum of the groups of channels, ``(N, G * C, H, W)`` to ``(N, C, H, W)``, in the memory format of x."""
    channels = x.size(1) // groups
    if is_channels_last(x):
        pixels = x.permute(0, 2, 3, 1)
        return pixels.view(*pixels.shape[:3], groups, channels).sum(3).permute(0, 3, 1, 2)
    return x.view(x.size(0), groups, channels, *x.shape[2:]).sum(1)


def add_product(base: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``base + x * y``. The backward pass of ``torch.addcmul`` has two more products."""
    return torch.addcmul(base, x, y) if traced() or transformed() else _AddProduct.apply(base, x, y)


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


def fusible() -> bool:
    """Whether ``torch.compile`` records operators. An export keeps convolutions as they are."""
    return _is_dynamo_compiling() and not _is_exporting()


def traced() -> bool:
    """Whether operators are recorded, by ``torch.jit.trace``, ``torch.compile`` or ``torch.export``, and not run."""
    return torch.jit.is_tracing() or _is_compiling()


def transformed() -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is active.

    They need plain operators: the autograd functions here have neither ``vmap`` nor ``jvp``.
    """
    return not _is_compiling() and (_are_functorch_transforms_active() or forward_ad._current_level >= 0)


def is_channels_last(x: Tensor) -> bool:
    """False within ``torch.func``, where ``vmap`` cannot tell."""
    return not transformed() and x.is_contiguous(memory_format=torch.channels_last)


class PointwiseConv2d(nn.Conv2d):
    """:func:`pointwise` with its weights."""

    def __init__(self, inputs: int, outputs: int, groups: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x, self.weight, self.bias, self.groups)


class NarrowBatchNorm2d(nn.BatchNorm2d):
    """Converts narrow channels_last inputs to contiguous for training: 0.2 ms, not 2 ms, for 16 maps of 56x56."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous() or not self.training or self.num_features >= NARROW:
            return super().forward(x)
        return _channels_last(super().forward(x.contiguous()))


@dataclass
class Norm:
    """A batch norm without scale and shift. The backward pass recomputes its output.

    Args:
        mean, var: per channel. In training the forward pass writes the mean and the unbiased variance of the batch.
    """

    mean: Tensor
    var: Tensor
    training: bool
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and the statistics for the methods below."""
        y, mean, inverse = torch.native_batch_norm(x, None, None, self.mean, self.var, self.training, 1.0, self.eps)
        return y, (mean, inverse)

    def recompute(self, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        """The output, by the cheapest way; by a differentiable one if the backward pass is differentiated."""
        if not self.training:
            return F.batch_norm(x, self.mean, self.var, eps=self.eps)
        if torch.is_grad_enabled():
            return F.batch_norm(x, None, None, training=True, eps=self.eps)
        values = x.numel() // x.size(1)
        return F.batch_norm(x, mean, self.var * ((values - 1) / values), eps=self.eps)

    def backward(self, grad: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        """The gradient with respect to x."""
        statistics = (self.mean, self.var, mean, inverse)
        arguments = (grad, x, None, *statistics, self.training, self.eps, [True, False, False])
        return torch.ops.aten.native_batch_norm_backward(*arguments)[0]


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


class _PixelMean(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.mean((-2, -1), keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return (grad / (ctx.shape[-2] * ctx.shape[-1])).expand(ctx.shape)


class _AddProduct(Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return torch.addcmul(base, x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, y = ctx.saved_tensors
        return grad, (grad * y).sum_to_size(x.shape), (grad * x).sum_to_size(y.shape)


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
        grad = _channels_last(grad)
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
        maps, saved = (x, ()) if norm is None else norm.forward(x)
        ctx.save_for_backward(x, depthwise, pointwise, *saved)
        maps = _channels_last(maps if norm is None else maps.relu_())
        return _pointwise(_depthwise(maps, depthwise, dilation), pointwise, groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # Under autocast the gradient has a lower precision than the inputs.
        x, depthwise, pointwise = (tensor.to(grad.dtype) for tensor in ctx.saved_tensors[:3])
        need_x, need_depthwise, need_pointwise, *_ = ctx.needs_input_grad
        activation = x if ctx.norm is None else ctx.norm.recompute(x, *ctx.saved_tensors[3:]).relu()
        maps = _channels_last(activation)
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
                grads[0] = ctx.norm.backward(grad, x, *ctx.saved_tensors[3:])
        typed = [g if g is None else g.to(tensor.dtype) for g, tensor in zip(grads, ctx.saved_tensors)]
        return *typed, None, None, None


class _WeightedGates(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, norm: Norm) -> Tensor:
        gates, saved = norm.forward(x.flatten(1, -3))
        ctx.save_for_backward(x, weight, *saved)
        ctx.norm = norm
        gates = gates.sigmoid_().view_as(x)
        total = gates[:, 0] * weight[:, 0]
        for i in range(1, x.size(1)):
            total = total.addcmul_(gates[:, i], weight[:, i])
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, *saved = ctx.saved_tensors
        maps = x.flatten(1, -3)
        gates = ctx.norm.recompute(maps, *saved).sigmoid().view_as(x)
        grad = grad.unsqueeze(1)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * gates).sum_to_size(weight.shape)
        if ctx.needs_input_grad[0]:
            grad_maps = torch.ops.aten.sigmoid_backward(grad * weight, gates).flatten(1, -3)
            grad_x = ctx.norm.backward(grad_maps, maps, *saved).view_as(x)
        return grad_x, grad_weight, None


class _Pool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor | None, dim: int) -> Tensor:
        pooled = _pool(x if scale is None else x * scale, dim)
        ctx.save_for_backward(x, scale, pooled)
        ctx.dim = dim
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, scale, pooled = ctx.saved_tensors
        grad_top, grad_mean = (part.unsqueeze(ctx.dim) for part in grad.unbind(2))
        scaled = x if scale is None else x * scale
        largest = scaled == pooled.select(2, 0).unsqueeze(ctx.dim)
        share = grad_top / largest.sum(ctx.dim, keepdim=True, dtype=grad.dtype)
        grad = torch.addcmul(grad_mean / x.size(ctx.dim), largest, share)
        if scale is None:
            return grad, None, None
        grad_x = (grad * scale).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        grad_scale = (grad * x).sum_to_size(scale.shape) if ctx.needs_input_grad[1] else None
        return grad_x, grad_scale, None


def _pool(x: Tensor, dim: int) -> Tensor:
    """Maximum and mean over one dimension, stacked along dimension 2."""
    if traced() or transformed():
        return torch.stack((x.amax(dim), x.mean(dim)), 2)
    shape = list(x.shape)
    del shape[dim]
    pooled = x.new_empty((*shape[:2], 2, *shape[2:]))
    torch.amax(x, dim, out=pooled.select(2, 0))
    torch.mean(x, dim, out=pooled.select(2, 1))
    return pooled


def _depthwise(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return F.conv2d(x, weight, padding=dilation * (weight.size(-1) // 2), dilation=dilation, groups=len(weight))


def _depthwise_weight_grad(grad: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding = dilation * (weight.size(-1) // 2)
    geometry = ([1, 1], [padding] * 2, [dilation] * 2, False, [0, 0], len(weight))
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *geometry, [False, True, False])[1]


def _pointwise(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    return (_blocks(weight, groups) @ _maps(x, groups)).view(len(x), len(weight), *x.shape[2:])


def _pointwise_input_grad(grad: Tensor, weight: Tensor, groups: int) -> Tensor:
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


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
