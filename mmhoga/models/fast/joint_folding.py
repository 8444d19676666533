"""The weights of a derived cell for inference: stacked, with the batch norms folded into the convolutions before them.

With the scale s and the shift t of a norm, ``norm(W x)`` is ``(s W) x + t``. All tensors come from one concatenation.
One batch norm gives all s and t: as a function of a constant input, it is s at 1 without mean and bias, and t at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmhoga.models.fast.joint_weights import Conv, Layers, Mlp, Stage, mlp_tensors, stacked_conv, stacked_mlp

# Up to this width a dense 3x3 convolution replaces a depth-wise and a point-wise one. With 2 threads, channels_last and
# batch 8, the two take 137 us and the one 103 us for 2 maps of 56x56, 198 and 221 us for 8 maps, and 159 and 329 us for
# 32 maps of 28x28.
COMPOSED_CHANNELS = 4


class Folder:
    """Folds the norms of a cell. Its tensors are read in every call.

    The last convolutions of most stages have a multiple of C / K weights per output. They are scaled in one product, in
    units of C / K weights. The others are few; each of their weights is scaled by itself.

    Args:
        layers: the stages of the cell, with those of phi at the end.
        mlps: its channel MLPs.
    """

    def __init__(self, layers: Sequence[Layers], mlps: Sequence[Sequence[Any]]) -> None:
        self.layers, self.mlps = layers, mlps
        self.norms = [norm for stage in layers for norm in stage.norms]
        self.outputs = [sum(norm.num_features for norm in stage.norms) for stage in layers]
        self.composed: dict[tuple[int, ...], list[int]] = {}  # stages whose two convolutions are composed, by shape
        for i, stage in enumerate(layers):
            if len(stage.convs) == 2 and stage.convs[0][0].in_channels <= COMPOSED_CHANNELS:
                self.composed.setdefault(_composed_shape(stage), []).append(i)
        composed = [i for own in self.composed.values() for i in own]
        rows = [stage.convs[-1][0].weight[0].numel() for stage in layers]  # weights per output
        self.unit = math.gcd(rows[-1], rows[-2])
        self.large = [i for i, length in enumerate(rows) if i not in composed and length % self.unit == 0]
        self.small = [*composed, *(i for i in range(len(rows)) if i not in composed and i not in self.large)]
        self.numel = [length * n for length, n in zip(rows, self.outputs)]
        # For each unit and each weight the channel among all norms that scales it.
        channels = torch.arange(sum(self.outputs)).split(self.outputs)
        repeated = [channels[i].repeat_interleave(rows[i] // self.unit) for i in self.large]
        repeated += [channels[i].repeat_interleave(rows[i]) for i in self.small]
        self.index = torch.cat(repeated)
        self.constants = torch.tensor([1.0, 0.0]).repeat_interleave(sum(self.outputs))

    def __call__(self) -> tuple[list[Stage], list[Mlp]]:
        """Stages without norms, and MLPs."""
        like = self.norms[0].weight
        if (self.constants.device, self.constants.dtype) != (like.device, like.dtype):
            self.constants, self.index = self.constants.to(like), self.index.to(like.device)
        zeros = self.constants[len(self.constants) // 2 :]
        parts = self._parts(zeros)
        sizes = [sum(tensor.numel() for tensor in part) for part in parts]
        statistics, large, small, *rest = torch.cat([tensor.flatten() for tensor in chain(*parts)]).split(sizes)
        tensors = iter(rest)

        mean, var, weight, bias = statistics.view(4, -1)
        scales, shifts = F.batch_norm(self.constants[None], mean, var, weight, bias, eps=self.norms[0].eps)[0].chunk(2)
        units = len(large) // self.unit
        factors = scales.index_select(0, self.index)
        weights = _split(large.view(-1, self.unit) * factors[:units, None], self.large, self.numel)
        if self.small:
            small = small * factors[units:]
            weights.update(_split(small, self.small, self.numel))
        start = 0
        for (outer, inner, size), own in self.composed.items():
            length = sum(self.numel[i] for i in own)
            product = small[start : start + length].view(-1, outer, 1) * next(tensors).view(-1, inner, size * size)
            weights.update(_split(product, own, [n * inner * size * size for n in self.outputs]))
            start += length

        stages = []
        for i, (stage, shift) in enumerate(zip(self.layers, shifts.split(self.outputs))):
            if any(i in own for own in self.composed.values()):
                stages.append(Stage([_composed(stage, weights[i], shift)]))
            else:
                convs = [stacked_conv(same, next(tensors)) for same in stage.convs[:-1]]
                stages.append(Stage([*convs, stacked_conv(stage.convs[-1], weights[i], shift)]))
        mlps = [stacked_mlp(same, tensors) for same in self.mlps]
        return stages, [_with_bias(mlp, zeros) for mlp in mlps]

    def _parts(self, zeros: Tensor) -> list[list[Tensor]]:
        """Statistics, the weights to be scaled in two parts, and in the order of their use the others."""
        keys = ('running_mean', 'running_var', 'weight', 'bias')
        mean, var, weight, bias = ([getattr(norm, key) for norm in self.norms] for key in keys)
        scaled = [[conv.weight for i in part for conv in self.layers[i].convs[-1]] for part in (self.large, self.small)]
        # The weights of the first convolution of a composition, once for each output of the second.
        pairs = [[pair for i in own for pair in zip(*self.layers[i].convs)] for own in self.composed.values()]
        inner = [[first.weight for first, second in own for _ in range(second.out_channels)] for own in pairs]
        composed = {i for own in self.composed.values() for i in own}
        first = [
            [conv.weight for conv in same]
            for i, stage in enumerate(self.layers)
            if i not in composed
            for same in stage.convs[:-1]
        ]
        statistics = [zeros, *mean, *var, *var, *weight, *weight, zeros, *bias]
        return [statistics, *scaled, *inner, *first, *mlp_tensors(self.mlps)]


def _split(flat: Tensor, stages: Sequence[int], numel: Sequence[int]) -> dict[int, Tensor]:
    return dict(zip(stages, flat.flatten().split([numel[i] for i in stages])))


def _composed_shape(stage: Layers) -> tuple[int, ...]:
    """The inputs of each output of the second and of the first convolution, and the size of the kernel."""
    (first, *_), (second, *_) = stage.convs
    return second.weight.size(1), first.in_channels, first.kernel_size[0]


def _composed(stage: Layers, weight: Tensor, bias: Tensor) -> Conv:
    """The convolution that equals both; the groups of the first have one output, and the second is 1x1."""
    (first, *others), _ = stage.convs
    weight = weight.view(len(bias), first.in_channels, *first.kernel_size)
    return Conv(weight, bias, first.padding, first.dilation, 1 + len(others))


def _with_bias(mlp: Mlp, zeros: Tensor) -> Mlp:
    """A bias of 0 for the MLP of one edge: a product with a bias and a ReLU is one call."""
    if mlp.squeeze_bias is not None or len(mlp.squeeze) > 1:
        return mlp
    return mlp._replace(squeeze_bias=zeros[: mlp.squeeze.size(1)].view(1, 1, -1))
