"""Eqs. (2) to (8) with fewer, larger operator calls: edges of one primitive whose inputs are ready together run as one.

``autola`` has 7 edges with a gate, in two levels of the graph (:mod:`mmhoga.models.fast.schedule`). Three of them are
``norm_3x3`` on inputs.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmhoga.models.fast.choice import Kernels, chosen
from mmhoga.models.fast.joint_weights import Stage
from mmhoga.models.fast.kernels.convolutions import convolve
from mmhoga.models.fast.kernels.gates import Begun, Message, relu
from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.fast.kernels.modes import is_channels_last, traced
from mmhoga.models.fast.kernels.pools import group_sum, pixel_mean
from mmhoga.models.fast.schedule import Batch
from mmhoga.models.fast.uses import Uses, uses_of
from mmhoga.models.operations import EdgeInput, split_edges


class Weights(NamedTuple):
    """Of a batch: stages and channel MLP; for a primitive that is not mmhoga's, the operations."""

    stages: Sequence[Stage] = ()
    mlp: Mlp | None = None
    operations: Sequence[Any] = ()


class CellWeights(NamedTuple):
    """The weights of a cell for one forward pass."""

    batches: Sequence[Sequence[Weights]]  # by level
    summary: Mlp
    phi: Sequence[Stage]
    output: Mlp
    squeezed_bias: Tensor | None = None  # the bias of phi's last layer after the squeeze of output, if norms are folded


class Structure(NamedTuple):
    """The structure that cells of one genotype, width and set of options share."""

    levels: tuple[tuple[Batch, ...], ...]  # see schedule.py
    stages: tuple[int, ...]  # the number of stages of each batch
    mlps: tuple[bool, ...]  # whether each batch has a channel MLP
    skips: tuple[tuple[int, int], ...]  # the edges with skip_connect
    num_groups: int
    summary: str
    factor: int  # of the gate at the end
    uses: Uses
    triton: bool = False  # whether kernels in Triton run where they can


def forward(x: Tensor, structure: Structure, weights: CellWeights) -> Tensor:
    """The output of a cell, ``(N, C, H, W)``."""
    kernels = chosen(x, structure.triton)
    joined, x = _joined(x, structure, weights, kernels)
    if _is_aggregate_applicable(x, weights):
        return _aggregate(joined, x, weights, structure.factor, kernels)
    return kernels.attend(run_stages([joined], [weights.phi], kernels)[0], weights.output, structure.factor, residual=x)


def _joined(x: Tensor, structure: Structure, weights: CellWeights, kernels: Kernels) -> tuple[Tensor, Tensor]:
    """[U_0; ...; U_{K-1}; SE(summary)], and x for its next use.

    Its parts are written where they belong, except by plain operators with gradients: these make copies.
    """
    channels = x.size(1) // structure.num_groups
    whole, inputs = kernels.split(x, structure.uses.counts[: structure.num_groups])
    if kernels.join is None and (torch.is_grad_enabled() or traced()):
        maps = torch.cat(_nodes(inputs, structure, weights.batches, kernels)[0], dim=1)
        summed = group_sum(x if structure.summary == 'inputs' else maps, structure.num_groups)
        return torch.cat((maps, kernels.attend(summed, weights.summary)), dim=1), whole
    memory_format = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    shape = (x.size(0), x.size(1) + channels, *x.shape[2:])
    joined = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    *places, summary = joined.split(channels, dim=1)
    nodes, terms = _nodes(inputs, structure, weights.batches, kernels, places)
    if kernels.join is not None:
        terms_of = x if structure.summary == 'inputs' else joined
        return kernels.join(joined, nodes, terms, terms_of, weights.summary), whole
    for i, (node, place) in enumerate(zip(nodes, places), start=structure.num_groups):
        if structure.uses.origins[i] != i:
            place.copy_(node)
    summed = group_sum(x if structure.summary == 'inputs' else joined[:, : x.size(1)], structure.num_groups)
    kernels.attend(summed, weights.summary, out=summary)
    return joined, whole


def _nodes(
    inputs: Sequence[list[Tensor]],
    structure: Structure,
    weights: Sequence[Sequence[Weights]],
    kernels: Kernels,
    outputs: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """U_0 to U_{K-1} from F_0 to F_{K-1}, each ``(N, C / K, H, W)``, and the terms of the summary.

    Args:
        inputs: each as often as it is used.
        outputs: where to write the nodes, but for those that are inputs.
    """
    count = len(inputs)
    messages: list[list[Message]] = [[] for _ in inputs]
    likes = [own[0] for own in inputs]
    pools: dict[int, list[Tensor]] = dict(enumerate(inputs))  # for each input and node, its uses to come

    def source(edge: tuple[int, int]) -> Tensor:
        j, k = edge
        return pools[k].pop() if j == k else node(j)

    def node(k: int) -> Tensor:
        index = structure.uses.origins[count + k]
        if index not in pools:
            k = index - count
            direct = [Message(source(edge)) for edge in structure.skips if edge[1] == k]
            out = outputs[k] if outputs else None
            pools[index] = kernels.gated_sum([*direct, *messages[k]], likes[k], out, structure.uses.counts[index])
        return pools[index].pop()

    for level, own in zip(structure.levels, weights):
        read = [
            [tuple(source(edge) for _ in range(uses_of(batch.primitive))) for edge in batch.edges] for batch in level
        ]
        for batch, received in zip(level, _messages(level, read, own, kernels)):
            for (_, k), message in zip(batch.edges, received):
                messages[k].append(message)
    nodes = [node(k) for k in range(count)]
    return nodes, [pools[k].pop() if structure.summary == 'inputs' else node(k) for k in range(count)]


def run_stages(maps: Sequence[Tensor], stages: Sequence[Sequence[Stage]], kernels: Kernels) -> list[Tensor]:
    """Each of the maps through its own stages, side by side."""
    narrow = [kernels.narrow_stages(x, own) for x, own in zip(maps, stages)]
    maps = [x if done is None else done for x, done in zip(maps, narrow)]
    stages = [own if done is None else () for own, done in zip(stages, narrow)]
    for i in range(max(map(len, stages), default=0)):
        active = [m for m, own in enumerate(stages) if i < len(own)]
        if i:
            for m, x in zip(active, relu([maps[m] for m in active])):
                maps[m] = x
        for m in active:
            stage = stages[m][i]
            for conv in stage.convs:
                maps[m] = convolve(maps[m], conv)
            if stage.norm is not None:
                maps[m] = F.batch_norm(maps[m], *stage.norm)
    return maps


def _is_aggregate_applicable(x: Tensor, weights: CellWeights) -> bool:
    """Whether :func:`_aggregate` can run."""
    return (
        weights.squeezed_bias is not None
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.dtype == weights.squeezed_bias.dtype
        and not torch.is_grad_enabled()
        and not traced()
    )


def _aggregate(joined: Tensor, x: Tensor, weights: CellWeights, factor: int, kernels: Kernels) -> Tensor:
    """Eq. (3) from ``[U_0; ...; U_{K-1}; SE(summary)]``, without gradients, for channels_last.

    It makes fewer passes over the maps than the layers do. With W and b of the second layer of phi, ``z = W h + x``, m
    for the mean over pixels and g for the gate at the end, the output is ``g (z + b)``, and ``m(z + b)`` is
    ``m(z) + b``.
    """
    (first,), (second,) = (stage.convs for stage in weights.phi)
    assert first.bias is not None and second.bias is not None
    hidden = torch._addmm_activation(first.bias, _pixels(joined), first.weight.flatten(1).t())
    z = torch.addmm(_pixels(x), hidden, second.weight.flatten(1).t())
    z = z.view(x.size(0), *x.shape[2:], x.size(1)).permute(0, 3, 1, 2)
    mlp = weights.output._replace(squeeze_bias=weights.squeezed_bias)
    return kernels.attend(z, mlp, factor, second.bias)


def _pixels(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` in channels_last as a matrix ``(N H W, C)``."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _messages(
    level: Sequence[Batch], inputs: Sequence[Sequence[tuple[Tensor, ...]]], weights: Sequence[Weights], kernels: Kernels
) -> list[list[Message]]:
    """The messages of each batch of a level. Each edge has its input as often as it is used."""
    known = [i for i, own in enumerate(weights) if not own.operations]
    begun = [_begin(level[i], inputs[i], weights[i].mlp, kernels) for i in known]
    logits = run_stages([one.maps for one in begun], [weights[i].stages for i in known], kernels)
    ended = dict(zip(known, kernels.messages(begun, logits)))
    return [
        ended[i]
        if i in ended
        else [
            Message(operation(EdgeInput(x.unsqueeze(1))).squeeze(1))
            for operation, (x, *_) in zip(own.operations, own_inputs)
        ]
        for i, (own, own_inputs) in enumerate(zip(weights, inputs))
    ]


def _begin(batch: Batch, uses: Sequence[tuple[Tensor, ...]], mlp: Mlp | None, kernels: Kernels) -> Begun:
    primitive = batch.primitive
    inputs, xs, *again = zip(*uses)
    if primitive.startswith('norm'):
        return Begun(xs, inputs[0] if len(xs) == 1 else torch.cat(inputs, 1))
    sources = {edge if edge[0] == edge[1] else edge[0] for edge in batch.edges}
    x = _stacked(inputs, sources)
    if primitive.startswith('spatial'):
        maps = kernels.channel_maps(x)
        return Begun(xs, maps if x.size(1) == len(xs) else maps.repeat(1, len(xs), 1, 1))
    assert mlp is not None
    pooled = pixel_mean(x).flatten(2).unsqueeze(2) if primitive == 'se' else kernels.pixel_pool(x)  # (N, E or 1, P, C)
    logits = kernels.channel_logits(pooled, mlp, 1 if primitive == 'se' else 2)[..., None, None]  # (N, E, C, 1, 1)
    if primitive != 'cbam':
        return Begun(xs, logits)
    is_view = x.size(1) == 1 and again[0][0] is not inputs[0]  # then another use adds no call
    return kernels.begin_cbam(xs, _stacked(again[0], sources) if is_view else x, logits)


def _stacked(xs: Sequence[Tensor], sources: Set[Any]) -> Tensor:
    """``(N, E, C, H, W)``; ``(N, 1, C, H, W)`` if all edges have one input."""
    if len(sources) == 1 or all(x is xs[0] for x in xs):
        return xs[0].unsqueeze(1)
    return split_edges(torch.cat(list(xs), 1), len(xs))
