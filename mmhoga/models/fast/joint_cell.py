"""Eqs. (2) to (8) with fewer, larger operator calls: edges of one primitive whose inputs are ready together run as one.

``autola`` has 7 edges with a gate, in two levels of the graph (:mod:`mmhoga.models.fast.schedule`). Three of them are
``norm_3x3`` on inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmhoga.models.fast.joint_weights import Mlp, Stage
from mmhoga.models.fast.kernels.convolutions import convolve
from mmhoga.models.fast.kernels.modes import fusible, is_channels_last, traced
from mmhoga.models.fast.kernels.pools import add_product, channel_maps, group_sum, pixel_mean, pixel_pool
from mmhoga.models.fast.schedule import Batch
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


class Message(NamedTuple):
    """``gate * x``, or ``x`` without a gate: ``(N, C, H, W)``."""

    x: Tensor
    gate: Tensor | None = None


class Begun(NamedTuple):
    """A batch before its stages: the inputs of its edges, and what the stages and a sigmoid turn into gates."""

    xs: Sequence[Tensor]
    maps: Tensor


def forward(x: Tensor, structure: Structure, weights: CellWeights) -> Tensor:
    """The output of a cell, ``(N, C, H, W)``."""
    joined = _joined(x, structure, weights)
    if _is_aggregate_applicable(x, weights):
        return _aggregate(joined, x, weights, structure.factor)
    return _attend(run_stages([joined], [weights.phi])[0] + x, weights.output, structure.factor)


def _joined(x: Tensor, structure: Structure, weights: CellWeights) -> Tensor:
    """[U_0; ...; U_{K-1}; SE(summary)]. Without gradients its parts are written where they belong, not copied there."""
    channels = x.size(1) // structure.num_groups
    groups = x.split(channels, dim=1)
    if torch.is_grad_enabled() or traced():
        maps = torch.cat(_nodes(groups, structure, weights.batches), dim=1)
        summed = group_sum(x if structure.summary == 'inputs' else maps, structure.num_groups)
        return torch.cat((maps, _attend(summed, weights.summary)), dim=1)
    memory_format = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    shape = (x.size(0), x.size(1) + channels, *x.shape[2:])
    joined = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    maps, summary = joined.split((x.size(1), channels), dim=1)
    _nodes(groups, structure, weights.batches, maps.split(channels, dim=1))
    summed = group_sum(x if structure.summary == 'inputs' else maps, structure.num_groups)
    torch.mul(summed, _gate(summed, weights.summary), out=summary)
    return joined


def _nodes(
    groups: Sequence[Tensor],
    structure: Structure,
    weights: Sequence[Sequence[Weights]],
    outputs: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """U_0 to U_{K-1} from F_0 to F_{K-1}, each ``(N, C / K, H, W)``, as new tensors or in ``outputs``."""
    messages: list[list[Message]] = [[] for _ in groups]
    done: dict[int, Tensor] = {}

    def source(edge: tuple[int, int]) -> Tensor:
        j, k = edge
        return groups[k] if j == k else node(j)

    def node(k: int) -> Tensor:
        if k not in done:
            direct = [Message(source(edge)) for edge in structure.skips if edge[1] == k]
            done[k] = _total([*direct, *messages[k]], groups[k], outputs[k] if outputs else None)
        return done[k]

    for level, own in zip(structure.levels, weights):
        sources = [[source(edge) for edge in batch.edges] for batch in level]
        for batch, received in zip(level, _messages(level, sources, own)):
            for (_, k), message in zip(batch.edges, received):
                messages[k].append(message)
    return [node(k) for k in range(len(groups))]


def run_stages(maps: Sequence[Tensor], stages: Sequence[Sequence[Stage]]) -> list[Tensor]:
    """Each of the maps through its own stages, side by side."""
    maps = list(maps)
    for i in range(max(map(len, stages), default=0)):
        active = [m for m, own in enumerate(stages) if i < len(own)]
        if i:
            for m, x in zip(active, _relu([maps[m] for m in active])):
                maps[m] = x
        for m in active:
            stage = stages[m][i]
            for conv in stage.convs:
                maps[m] = convolve(maps[m], conv)
            if stage.norm is not None:
                maps[m] = F.batch_norm(maps[m], *stage.norm)
    return maps


def _attend(x: Tensor, mlp: Mlp, factor: int = 1) -> Tensor:
    """Channel attention, Eq. (4), on ``(N, C, H, W)``; ``factor`` multiplies the gate."""
    return x * _gate(x, mlp, factor)


def _gate(x: Tensor, mlp: Mlp, factor: int = 1) -> Tensor:
    """``(N, C, 1, 1)``."""
    gate = _channel_logits(pixel_mean(x).flatten(1)[:, None, None], mlp).sigmoid().squeeze(1)[..., None, None]
    return gate if factor == 1 else factor * gate


def _is_aggregate_applicable(x: Tensor, weights: CellWeights) -> bool:
    """Whether :func:`_aggregate` can run."""
    return (
        weights.squeezed_bias is not None
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.dtype == weights.squeezed_bias.dtype
        and not torch.is_grad_enabled()
        and not traced()
    )


def _aggregate(joined: Tensor, x: Tensor, weights: CellWeights, factor: int) -> Tensor:
    """Eq. (3) from ``[U_0; ...; U_{K-1}; SE(summary)]``, without gradients, for channels_last.

    It makes fewer passes over the maps than the layers do. With W and b of the second layer of phi, ``z = W h + x``, m
    for the mean over pixels and g for the gate at the end, the output ``g (z + b)`` is ``g z + g b``, and ``m(z + b)``
    is ``m(z) + b``.
    """
    (first,), (second,) = (stage.convs for stage in weights.phi)
    assert first.bias is not None and second.bias is not None
    hidden = torch._addmm_activation(first.bias, _pixels(joined), first.weight.flatten(1).t())
    z = torch.addmm(_pixels(x), hidden, second.weight.flatten(1).t())
    z = z.view(x.size(0), *x.shape[2:], x.size(1)).permute(0, 3, 1, 2)
    mlp = weights.output._replace(squeeze_bias=weights.squeezed_bias)
    gate = _gate(z, mlp, factor)
    return torch.addcmul(gate * second.bias.view(-1, 1, 1), z, gate)


def _pixels(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` in channels_last as a matrix ``(N H W, C)``."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _messages(
    level: Sequence[Batch], sources: Sequence[Sequence[Tensor]], weights: Sequence[Weights]
) -> list[list[Message]]:
    """The messages of each batch of a level."""
    known = [i for i, own in enumerate(weights) if not own.operations]
    begun = [_begin(level[i].primitive, sources[i], weights[i].mlp) for i in known]
    gates = _sigmoid(run_stages([one.maps for one in begun], [weights[i].stages for i in known]))
    ended = {i: _end(one, gate) for i, one, gate in zip(known, begun, gates)}
    return [
        ended[i]
        if i in ended
        else [Message(operation(EdgeInput(x.unsqueeze(1))).squeeze(1)) for operation, x in zip(own.operations, xs)]
        for i, (own, xs) in enumerate(zip(weights, sources))
    ]


def _begin(primitive: str, xs: Sequence[Tensor], mlp: Mlp | None) -> Begun:
    if primitive.startswith('norm'):
        return Begun(xs, xs[0] if len(xs) == 1 else torch.cat(list(xs), 1))
    x = _stacked(xs)
    if primitive.startswith('spatial'):
        maps = channel_maps(x)
        return Begun(xs, maps if x.size(1) == len(xs) else maps.repeat(1, len(xs), 1, 1))
    assert mlp is not None
    pooled = pixel_mean(x).flatten(2).unsqueeze(2) if primitive == 'se' else pixel_pool(x)  # (N, E or 1, P, C)
    logits = _channel_logits(pooled, mlp, 1 if primitive == 'se' else 2)[..., None, None]  # (N, E, C, 1, 1)
    if primitive != 'cbam':
        return Begun(xs, logits)
    x = x * logits.sigmoid()
    return Begun(_edges(x), channel_maps(x))


def _end(begun: Begun, gates: Tensor) -> list[Message]:
    xs, edges = begun.xs, len(begun.xs)
    if gates.dim() == 5:
        return [Message(x, gate) for x, gate in zip(xs, _edges(gates))]
    if edges == 1:
        return [Message(xs[0], gates)]
    if gates.size(1) > edges and torch.is_grad_enabled():  # normalization attention: one product for all edges
        return [Message(x) for x in (begun.maps * gates).chunk(edges, 1)]
    return [Message(x, gate) for x, gate in zip(xs, gates.chunk(edges, 1))]


def _total(messages: Sequence[Message], like: Tensor, out: Tensor | None = None) -> Tensor:
    """The sum of messages, zero if there are none; a new tensor, that of the only message, or ``out``."""
    if not messages:
        return torch.zeros_like(like) if out is None else out.zero_()
    first, *others = sorted(messages, key=lambda message: message.gate is not None)
    only = None if others else out
    if first.gate is not None:
        total = torch.mul(first.x, first.gate, out=only)
    else:
        total = first.x if only is None else only.copy_(first.x)
    for i, (x, gate) in enumerate(others, start=1):
        last = out if i == len(others) else None
        total = torch.add(total, x, out=last) if gate is None else add_product(total, x, gate, out=last)
    return total


def _channel_logits(pooled: Tensor, mlp: Mlp, poolings: int = 1) -> Tensor:
    """Eqs. (4) and (5) before the sigmoid: ``(N, E or 1, P, C)``, P poolings, to ``(N, E, C)``.

    P is an argument because in a trace a size is a tensor, and the ``beta`` of ``addmm`` must be a number in ONNX.
    """
    edges = len(mlp.squeeze)
    rows = pooled.expand(-1, edges, -1, -1).transpose(0, 1).flatten(1, 2)  # (E, N * P, C)
    if edges == 1 and mlp.squeeze_bias is not None and not torch.is_grad_enabled() and not traced():
        bias, weight = mlp.squeeze_bias.flatten(), mlp.squeeze.squeeze(0)
        hidden = torch._addmm_activation(bias, rows.squeeze(0), weight.t())  # one kernel on a GPU
        hidden = hidden.view(1, pooled.size(0), poolings, hidden.size(1))
    else:
        hidden = _product(rows, mlp.squeeze, mlp.squeeze_bias)
        hidden = hidden.view(edges, pooled.size(0), poolings, hidden.size(2)).relu()
    # The next layer is linear, so that it can follow the sum over poolings. Fused weights are repeated instead.
    hidden = hidden.flatten(2) if mlp.excite.size(2) == hidden.size(2) * hidden.size(3) else hidden.sum(2)
    return _product(hidden, mlp.excite, mlp.excite_bias, poolings).transpose(0, 1)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, times: int = 1) -> Tensor:
    """``x weight^T + times * bias`` for each edge: ``(E, N, I)`` to ``(E, N, O)``."""
    if fusible():  # with its neighbours; a matrix product would be a kernel of its own
        result = (x.unsqueeze(2) * weight.unsqueeze(1)).sum(3)
        return result if bias is None else result + times * bias
    if len(weight) > 1:
        weight = weight.transpose(1, 2)  # legacy ONNX export lacks mT
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight, beta=times)
    x, weight = x.squeeze(0), weight.squeeze(0).t()
    return (x.mm(weight) if bias is None else torch.addmm(bias.squeeze(0), x, weight, beta=times)).unsqueeze(0)


def _stacked(xs: Sequence[Tensor]) -> Tensor:
    """``(N, E, C, H, W)``; ``(N, 1, C, H, W)`` if all edges have one input."""
    if all(x is xs[0] for x in xs):
        return xs[0].unsqueeze(1)
    return split_edges(torch.cat(list(xs), 1), len(xs))


def _edges(x: Tensor) -> list[Tensor]:
    """The tensors along dimension 1."""
    return [x.squeeze(1)] if x.size(1) == 1 else list(x.unbind(1))


def _relu(maps: list[Tensor]) -> list[Tensor]:
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
