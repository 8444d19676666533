"""The stages of edges with 2 maps, those of the spatial attention: 3 launches forward in training, and 4 backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor
from torch.autograd.function import Function

from mmhoga.models.fast.triton.launch import gradients
from mmhoga.models.fast.triton.narrow_gradients import gradient_kernel, reduce_kernel
from mmhoga.models.fast.triton.narrow_kernels import convolve_kernel, norm_kernel
from mmhoga.models.fast.triton.slices import empty, is_last, sliced

DENSE, SEPARABLE, DENSE_TO_ONE = range(3)  # see narrow_kernels.py
_MAPS = 2  # of an edge
_PIXELS = 1024  # of a block at most
_LARGEST = 7  # kernel size; each of its elements is unrolled


class Shape(NamedTuple):
    """Of a stage: the form and the geometry of its convolutions, and its number of maps per edge."""

    form: int
    size: int
    step: int
    outputs: int


def narrow_stages(x: Tensor, stages: Sequence[Any]) -> Tensor | None:
    """The result of stages of convolutions, with a ReLU between them; None if the plain form must give it.

    Args:
        x: ``(N, E * 2, H, W)``.
        stages: 1 or 2 (:class:`mmhoga.models.fast.joint_weights.Stage`).
    """
    if not 1 <= len(stages) <= 2:
        return None
    edges = stages[-1].convs[-1].groups
    shapes = [shape for stage in stages if (shape := _shape(stage.convs, edges)) is not None]
    if x.size(1) != _MAPS * edges or len(shapes) < len(stages) or any(one.outputs != _MAPS for one in shapes[:-1]):
        return None
    norms = [stage.norm for stage in stages]
    if not torch.is_grad_enabled() and all(norm is None or not norm.training for norm in norms):
        return _inferred(x, stages, shapes, edges)
    convs = [conv for stage in stages for conv in stage.convs]
    if (
        len(convs) == 1  # the plain form has as few calls
        or any(norm is None or norm.training != norms[0].training for norm in norms)
        or any(conv.bias is not None for conv in convs)
        or x.numel() == x.size(1)  # one value per channel: an error in training
    ):
        return None
    weights = [(stage.convs[0].weight, _point(stage.convs), stage.norm.weight, stage.norm.bias) for stage in stages]
    return _Narrow.apply(shapes, norms, x, *(tensor for own in weights for tensor in own))


def _shape(convs: Sequence[Any], edges: int) -> Shape | None:
    """The shape of a stage, if kernels can run it."""
    (first, *others), size = convs, convs[0].weight.size(-1)
    (step, *_), outputs, inputs = convs[0].dilation, len(convs[-1].weight) // edges, convs[-1].weight.size(1)
    same_size = size % 2 == 1 and all(margin == step * (size // 2) for margin in first.padding)
    if not same_size or first.weight.size(-2) != size or size > _LARGEST or len(set(first.dilation)) > 1:
        return None
    if outputs > _MAPS or len(others) > 1 or any(conv.weight.size(-1) > 1 or conv.groups != edges for conv in others):
        return None
    if others and first.bias is not None:
        return None
    if first.groups == edges and first.weight.size(1) == _MAPS:
        if not others:
            return Shape(DENSE, size, step, outputs)
        return Shape(DENSE_TO_ONE, size, step, 1) if inputs == outputs == 1 else None
    separable = others and first.weight.size(1) == 1 and len(first.weight) == _MAPS * edges and inputs == _MAPS
    return Shape(SEPARABLE, size, step, outputs) if separable else None


def _point(convs: Sequence[Any]) -> Tensor | None:
    return convs[1].weight if len(convs) > 1 else None


def _packed(weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.contiguous()


def _grid(x: Tensor, edges: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Images, blocks of pixels, edges; and the size of a block."""
    pixels = x.size(2) * x.size(3)
    high = min(triton.next_power_of_2(pixels), _PIXELS)
    return (x.size(0), triton.cdiv(pixels, high), edges), {'BP': high}


def _strided(weight: Tensor) -> tuple[Tensor, int, int]:
    """The weight of a convolution, contiguous or in channels_last, and its steps to the next input and element."""
    _, inputs, height, width = weight.shape
    if not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
        return weight, 1, inputs
    return weight.contiguous(), height * width, 1


def _constants(shape: Shape) -> dict[str, int]:
    return {'FORM': shape.form, 'SIZE': shape.size, 'STEP': shape.step, 'OUT': shape.outputs}


def _maps(x: Tensor, channels: int, last: bool) -> Tensor:
    return empty(x[:, :1].expand(-1, channels, -1, -1), last)


def _inferred(x: Tensor, stages: Sequence[Any], shapes: Sequence[Any], edges: int) -> Tensor:
    """One launch for each stage."""
    last = is_last(x)
    grid, block = _grid(x, edges)
    for i, (stage, shape) in enumerate(zip(stages, shapes)):
        x, width = sliced(x, last)
        y = _maps(x, edges * shape.outputs, last)
        norm, bias, point = stage.norm, stage.convs[-1].bias, _point(stage.convs)
        given = (None,) * 4 if norm is None else norm[:4]
        convolve_kernel[grid](
            x, width, None, *given, *_strided(stage.convs[0].weight), _packed(point),
            bias, y, y.size(1), None, x.size(3), x.size(2) * x.size(3), 0.0 if norm is None else norm.eps,
            NORM=0 if norm is None else 2, TRAINING=False, RELU=i + 1 < len(stages), BIAS=bias is not None,
            LAST=last, OUT_LAST=last, **_constants(shape), **block,
        )  # fmt: skip
        x = y
    return x


def _plain(shapes: Sequence[Shape], training: bool, eps: Sequence[float], statistics: Sequence[Any]) -> Callable:
    """The same by plain operators: x, then for each stage both weights of its convolutions, scale and shift."""

    def stages(x: Tensor, *weights: Any) -> Tensor:
        edges = x.size(1) // _MAPS
        for i, shape in enumerate(shapes):
            depth, point, scale, shift = weights[4 * i : 4 * i + 4]
            groups = edges * _MAPS if shape.form == SEPARABLE else edges
            margin = shape.step * (shape.size // 2)
            x = F.conv2d(x.relu() if i else x, depth.to(x.dtype), None, 1, margin, shape.step, groups)
            x = x if point is None else F.conv2d(x, point.to(x.dtype), groups=edges)
            mean, var = (None, None) if training else statistics[2 * i : 2 * i + 2]
            x = F.batch_norm(x, mean, var, scale, shift, training, 0.0, eps[i])
        return x

    return stages


class _Narrow(Function):
    @staticmethod
    def forward(ctx: Any, shapes: Sequence[Shape], norms: Sequence[Any], x: Tensor, *weights: Any) -> Tensor:
        count, edges, last, training = len(shapes), x.size(1) // _MAPS, is_last(x), norms[0].training
        grid, block = _grid(x, edges)
        parts, sizes = grid[0] * grid[1], (x.size(3), x.size(2) * x.size(3))
        channels = [edges * shape.outputs for shape in shapes]
        saved = x.new_empty(2 * sum(channels), dtype=torch.float32).split([2 * own for own in channels])
        results: list[Tensor] = []
        rows: list[Any] = []
        before: Any = (None,) * 5  # rows, statistics and weights of the norm before
        for i, shape in enumerate(shapes):
            depth, point, scale, shift = weights[4 * i : 4 * i + 4]
            value, width = (results[-1], channels[i - 1]) if i else sliced(x, last)
            results.append(_maps(x, channels[i], False))
            rows.append(x.new_empty(2 * channels[i] * parts, dtype=torch.float32) if training else None)
            convolve_kernel[grid](
                value, width, *before, *_strided(depth), _packed(point), None,
                results[-1], channels[i], rows[-1], *sizes, norms[i - 1].eps,
                NORM=1 if i else 0, TRAINING=training, RELU=False, BIAS=False,
                LAST=False if i else last, OUT_LAST=False, **_constants(shape), **block,
            )  # fmt: skip
            before = (rows[-1], norms[i].mean, norms[i].var, scale, shift)
        out = _maps(x, channels[-1], last)
        first, own = norms[0], norms[-1]
        norm_kernel[grid](
            results[-1], *before, saved[-1], own.eps, own.momentum,
            rows[0], first.mean, first.var, saved[0], first.eps, first.momentum, out, channels[-1], sizes[1],
            FIRST=count > 1, TRAINING=training, OUT=shapes[-1].outputs, OUT_LAST=last, **block,
        )  # fmt: skip
        given = () if training else [statistic for norm in norms for statistic in (norm.mean, norm.var)]
        ctx.save_for_backward(x, *weights, *results, *saved, *given)
        ctx.shapes, ctx.training, ctx.eps = shapes, training, [norm.eps for norm in norms]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        count, needed = len(ctx.shapes), ctx.needs_input_grad[2:]
        x, *tensors = ctx.saved_tensors
        weights, results, saved, given = (tensors[i * count : j * count] for i, j in ((0, 4), (4, 5), (5, 6), (6, 8)))
        if torch.is_grad_enabled():
            plain = _plain(ctx.shapes, ctx.training, ctx.eps, given)
            return None, None, *gradients(plain, (x, *weights), needed, grad)
        edges, last = x.size(1) // _MAPS, is_last(x)
        grid, block = _grid(x, edges)
        x, x_width = sliced(x, last)
        grad, width = sliced(grad, last)
        sizes = (x.size(3), x.size(2) * x.size(3))
        numbers = [0 if weight is None else weight.numel() for weight in weights]
        partial = x.new_empty((sum(numbers), grid[0] * grid[1]), dtype=torch.float32)
        rows = partial.split(numbers)
        reduce_kernel[grid](
            grad, width, results[-1], saved[-1], rows[-2], sizes[1],
            OUT=ctx.shapes[-1].outputs, LAST=last, **block,
        )  # fmt: skip
        for i in reversed(range(count)):
            depth, point, scale, _ = weights[4 * i : 4 * i + 4]
            inputs = (results[i - 1], _MAPS * edges) if i else (x, x_width)
            before = (saved[i - 1], *weights[4 * i - 2 : 4 * i], rows[4 * i - 2]) if i else (None,) * 4
            dx = _maps(x, _MAPS * edges, False if i else last)
            gradient_kernel[grid](
                grad, width, results[i], saved[i], scale, rows[4 * i + 2], *inputs, *before,
                *_strided(depth), _packed(point), dx, rows[4 * i], rows[4 * i + 1], *sizes,
                NORM=i > 0, TRAINING=ctx.training, GRAD_LAST=last if i + 1 == count else False,
                LAST=False if i else last, **_constants(ctx.shapes[i]), **block,
            )  # fmt: skip
            grad, width = dx, _MAPS * edges
        totals = partial.sum(1).split(numbers)
        found = [None if own is None else total.view(own.shape).to(own.dtype) for own, total in zip(weights, totals)]
        return None, None, grad, *found
