"""The weights of a derived cell for edges that run together, stacked.

All stacked weights come from one concatenation, so that they cost one call, and one more in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.operations import CBAM, AttentionOperation, ChannelAttention


class Conv(NamedTuple):
    """A convolution for E edges."""

    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class Norm(NamedTuple):
    """A batch norm for E edges, with the arguments of ``F.batch_norm`` in its order."""

    mean: Tensor
    var: Tensor
    weight: Tensor
    bias: Tensor
    training: bool
    momentum: float
    eps: float


class Stage(NamedTuple):
    """Convolutions, then a norm unless it is folded. There is a ReLU between two stages."""

    convs: list[Conv]
    norm: Norm | None = None


class Layers(NamedTuple):
    """The modules of a stage: for each layer one module per edge."""

    convs: list[list[Any]]
    norms: list[Any]


class ConvLayer(NamedTuple):
    """The part of a convolution that :func:`live` reads. With the next three, a cell without its modules."""

    weight: Tensor
    bias: Tensor | None
    in_channels: int
    out_channels: int
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class NormLayer(NamedTuple):
    """The part of a batch norm that :func:`live` reads."""

    running_mean: Tensor
    running_var: Tensor
    weight: Tensor
    bias: Tensor
    num_features: int
    training: bool
    momentum: float
    eps: float


class MlpLayers(NamedTuple):
    """The part of a channel attention that :func:`live` reads."""

    squeeze: ConvLayer
    excite: ConvLayer


def snapshot(layers: Sequence[Layers], mlps: Sequence[Sequence[Any]]) -> tuple[list[Layers], list[list[MlpLayers]]]:
    """The tensors and numbers of modules, for :func:`live`."""
    stages = [
        Layers([[_record(ConvLayer, conv) for conv in same] for same in convs], [_record(NormLayer, n) for n in norms])
        for convs, norms in layers
    ]
    pairs = [[MlpLayers(_record(ConvLayer, m.squeeze), _record(ConvLayer, m.excite)) for m in same] for same in mlps]
    return stages, pairs


def stage_layers(operations: Sequence[AttentionOperation | nn.Sequential]) -> list[Layers]:
    """The stages of equal operations, which run on maps; or those of one Sequential."""
    result: list[Layers] = []
    convs: list[list[Any]] = []
    for same in zip(*map(_map_layers, operations)):
        if isinstance(same[0], nn.Conv2d):
            convs.append(list(same))
        elif isinstance(same[0], nn.BatchNorm2d):
            result.append(Layers(convs, list(same)))
            convs = []
    return result


def channel_mlps(operations: Sequence[AttentionOperation]) -> list[ChannelAttention]:
    """The channel attention of each operation; none if they have none."""
    candidates = [operation.channel if isinstance(operation, CBAM) else operation for operation in operations]
    return [candidate for candidate in candidates if isinstance(candidate, ChannelAttention)]


def live(layers: Sequence[Layers], mlps: Sequence[Sequence[Any]]) -> tuple[list[Stage], list[Mlp]]:
    """Weights with gradients, and norms in their mode. In training :func:`update` must follow the forward pass."""
    stacked = [stage for stage in layers if len(stage.norms) > 1]
    training = bool(stacked) and stacked[0].norms[0].training
    parts: list[list[Tensor]] = []
    for stage in layers:
        parts += [[conv.weight for conv in convs] for convs in stage.convs]
        parts += [[norm.weight for norm in stage.norms], [norm.bias for norm in stage.norms]]
    tensors = joined(parts + mlp_tensors(mlps))
    keys = () if training else ('running_mean', 'running_var')
    fixed = joined([[getattr(norm, key) for norm in stage.norms] for stage in layers for key in keys])
    sizes = [sum(norm.num_features for norm in stage.norms) for stage in stacked for _ in range(2)]
    batch = iter(stacked[0].norms[0].running_mean.new_zeros(sum(sizes)).split(sizes) if training else ())
    stages = []
    for stage in layers:
        convs = [stacked_conv(same, next(tensors)) for same in stage.convs]
        affine = next(tensors), next(tensors)
        first = stage.norms[0]
        statistics, momentum = (first.running_mean, first.running_var), first.momentum
        if not training:
            statistics = next(fixed), next(fixed)
        elif len(stage.norms) > 1:
            statistics, momentum = (next(batch), next(batch)), 1.0
        stages.append(Stage(convs, Norm(*statistics, *affine, first.training, momentum, first.eps)))
    return stages, [stacked_mlp(same, tensors) for same in mlps]


def batch_statistics(layers: Sequence[Layers], stages: Sequence[Stage]) -> list[Tensor]:
    """Mean and variance of the batch for each stage whose norms ran together in training mode."""
    norms = [joint for own, (_, joint) in zip(layers, stages) if len(own.norms) > 1 and joint is not None]
    return [statistic for joint in norms if joint.training for statistic in (joint.mean, joint.var)]


def update(layers: Sequence[Layers], statistics: Sequence[Tensor]) -> None:
    """Update the running statistics of norms that ran together, and the counters of all.

    Args:
        layers: of a cell that ran in training mode.
        statistics: those of the batch (:func:`batch_statistics`).
    """
    running: dict[float, list[Tensor]] = {}
    batch: dict[float, list[Tensor]] = {}
    stacked = [
        (stage.norms, key) for stage in layers if len(stage.norms) > 1 for key in ('running_mean', 'running_var')
    ]
    for (norms, key), values in zip(stacked, statistics):
        for norm, value in zip(norms, values.chunk(len(norms))):
            running.setdefault(norm.momentum, []).append(getattr(norm, key))
            batch.setdefault(norm.momentum, []).append(value)
    for momentum, tensors in running.items():
        torch._foreach_lerp_(tensors, batch[momentum], momentum)
    torch._foreach_add_([norm.num_batches_tracked for stage in layers for norm in stage.norms], 1)


def _record(kind: Any, module: Any) -> Any:
    return kind(*(getattr(module, name) for name in kind._fields))


def _map_layers(operation: AttentionOperation | nn.Sequential) -> list[nn.Module]:
    if isinstance(operation, nn.Sequential):
        return list(operation)
    if isinstance(operation, CBAM):
        return [operation.conv, operation.bn]
    convs: Any = () if isinstance(operation, ChannelAttention) else operation.convs
    return list(convs)


def joined(parts: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
    """The tensors of each part as one flat tensor; a single tensor as it is."""
    several = [tensor.flatten() for part in parts if len(part) > 1 for tensor in part]
    sizes = [sum(tensor.numel() for tensor in part) for part in parts if len(part) > 1]
    flat = iter(torch.cat(several).split(sizes) if several else ())
    for part in parts:
        yield next(flat) if len(part) > 1 else part[0]


def stacked_conv(same: Sequence[Any], weight: Tensor, bias: Tensor | None = None) -> Conv:
    """``same`` convolutions, one per edge, with their stacked weights."""
    first = same[0]
    weight = weight.view(-1, *first.weight.shape[1:])
    return Conv(weight, bias, first.padding, first.dilation, first.groups * len(same))


def mlp_tensors(mlps: Sequence[Sequence[Any]]) -> list[list[Tensor]]:
    return [
        [getattr(getattr(mlp, layer), key) for mlp in same]
        for same in mlps
        for layer in ('squeeze', 'excite')
        for key in ('weight', 'bias')
        if getattr(getattr(same[0], layer), key) is not None
    ]


def stacked_mlp(same: Sequence[Any], tensors: Iterator[Tensor]) -> Mlp:
    values: list[Tensor | None] = []
    for layer in (same[0].squeeze, same[0].excite):
        values.append(next(tensors).view(len(same), layer.out_channels, layer.in_channels))
        values.append(next(tensors).view(len(same), 1, layer.out_channels) if layer.bias is not None else None)
    return Mlp(*values)  # type: ignore[arg-type]
