"""Eq. (13) for all edges that leave one node, in about a tenth of the calls that candidate by candidate takes.

The weighted sum of one edge's gates, for channel c and pixel p, with w for softmax(alpha)::

    G[c, p] =   w_norm n[c, p] + w_norm2 n2[c, p]               normalization attention, dilations 1 and 2, Eq. (7)
              + w_skip + w_se s[c] + w_se2 s2[c]                identity, channel attentions, Eqs. (9), (4), (5)
              + w_spatial m[p] + w_spatial2 m2[p]               spatial attention, dilations 1 and 2, Eq. (6)
              + w_cbam b[c] q[p]                                CBAM, Eq. (8)

All but the first line is a matrix product of rank 3, ``[A, 1, w_cbam b] @ [1; B; q]``.

- n and m are the same layers on other maps: depth-wise 3x3, point-wise, BN, ReLU, and again. They run as one on the maps
  ``[x; max_c x; mean_c x]``, C + 2 an edge, with point-wise weights that are block matrices.
- So do n2 and m2: m2's dense 3x3 from 2 maps to 1 and its factor f are a depth-wise 3x3 and a point-wise ``[f, f]``.
  CBAM's dense 7x7 is a depth-wise one and the sum of two maps.
- s, s2 and b are MLPs on ``[mean_p x; max_p x]``: two matrix products with block matrices.

What composes could be composed further, a depth-wise and a point-wise convolution into one dense 3x3. That saves calls but
takes C times the arithmetic: measured in channels_last it took 2.5 times (C = 4) to 5 times (C = 16) as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmhoga.models.kernels import channel_max, depthwise, pixel_max, weighted_sum
from mmhoga.models.operations import (
    CBAM,
    AttentionOperation,
    ChannelAttention,
    ChannelAttentionV2,
    Identity,
    NormalizationAttention,
    SpatialAttention,
    Zero,
)
from mmhoga.models.packing import Layout, Packing

#: What is fused: all candidates that have weights.
LEARNED: dict[str, type[AttentionOperation]] = {
    'norm_3x3': NormalizationAttention,
    'norm_3x3_d2': NormalizationAttention,
    'spatial_3x3': SpatialAttention,
    'spatial_3x3_d2': SpatialAttention,
    'se': ChannelAttention,
    'se_avgmax': ChannelAttentionV2,
    'cbam': CBAM,
}

# Up to so many channels a dense point-wise convolution is faster than one grouped by edges, zeros and all.
DENSE_WIDTH = 48


class FusedGates(nn.Module):
    """The weighted gates of :data:`LEARNED`, zero and identity for E edges that share a source or have their own.

    It owns no parameters: they stay with the operations, which come with each call.

    Args:
        channels: C, of a group.
        edges: E.
        hidden: units of each channel MLP.
    """

    def __init__(self, channels: int, edges: int, hidden: int) -> None:
        super().__init__()
        self.channels, self.edges = channels, edges
        self.groups = 1 if edges * (channels + 2) <= DENSE_WIDTH else edges
        self.packing = _packing(channels, edges, hidden, self.groups)

    @classmethod
    def of(cls, operations: Mapping[str, nn.Module]) -> FusedGates | None:
        """For these candidates, or None where one of :data:`LEARNED` is missing or of another class."""
        if any(type(operations.get(name)) is not kind for name, kind in LEARNED.items()):
            return None
        se = operations['se']
        return cls(se.channels, se.edges, se.squeeze.out_channels // se.edges)

    @staticmethod
    def served(operations: Mapping[str, nn.Module]) -> list[str]:
        """The names of those candidates whose gates are in G."""
        return [name for name, op in operations.items() if name in LEARNED or type(op) in (Zero, Identity)]

    @staticmethod
    def serves(operations: Mapping[str, nn.Module]) -> bool:
        """Whether the batch norms are still what they were built as: alike, local to a process, all in one mode."""
        norms = [norm for stage in _norms(operations) for row in stage for norm in row]
        return all(
            type(norm) is nn.BatchNorm2d
            and (norm.training, norm.momentum, norm.eps) == (norms[0].training, norms[0].momentum, norms[0].eps)
            and norm.momentum is not None
            and norm.track_running_stats
            for norm in norms
        )

    def forward(self, x: Tensor, weights: Mapping[str, Tensor], operations: Mapping[str, nn.Module]) -> Tensor:
        """G.

        Args:
            x: ``(N, E or 1, C, H, W)``.
            weights: ``(E,)`` for each candidate.
            operations: the candidates; those that are not served are left out of G.

        Returns:
            ``(N, E, C, H, W)``.
        """
        packed = self.packing(_parameters(operations))
        w = {name: weight.view(-1, 1) for name, weight in weights.items()}
        s, s2, b = self._channel_gates(x, packed)
        q = self._cbam_map(x, b, operations['cbam'])
        local = weighted_sum(self._local_gates(x, packed, operations), self._local_weights(w))
        first, spatial = local.split((self.channels, 1), dim=2)  # (N, E, C, P), (N, E, 1, P)

        a = w['se'] * s + w['se_avgmax'] * s2
        for name, operation in operations.items():
            if type(operation) is Identity:
                a = a + w[name]
        left = torch.stack((a, torch.ones_like(a), w['cbam'] * b), dim=-1)  # (N, E, C, 3)
        right = torch.cat((torch.ones_like(q), spatial, q), dim=2)  # (N, E, 3, P)
        gates = torch.baddbmm(first.flatten(0, 1), left.flatten(0, 1), right.flatten(0, 1))
        return gates.view(len(x), self.edges, self.channels, *x.shape[-2:])

    def _channel_gates(self, x: Tensor, packed: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """s, s2 and b, ``(N, E, C)`` each."""
        pooled = torch.cat((x.mean((-2, -1)), pixel_max(x)), dim=2).transpose(0, 1)  # (E or 1, N, 2C)
        hidden = torch.baddbmm(packed['squeeze_bias'], pooled.expand(self.edges, -1, -1), packed['squeeze']).relu()
        # Both poolings bring the bias.
        gates = torch.baddbmm(2 * packed['excite_bias'], hidden, packed['excite']).sigmoid()
        return gates.transpose(0, 1).chunk(3, dim=2)

    def _cbam_map(self, x: Tensor, b: Tensor, cbam: nn.Module) -> Tensor:
        """q, ``(N, E, 1, P)``."""
        top = channel_max(x, b[..., None, None])  # (N, E, 1, H, W)
        if x.size(1) == 1:
            mean = b.bmm(x.flatten(3).squeeze(1))  # (N, E, P)
        else:
            mean = b.flatten(0, 1).unsqueeze(1).bmm(x.flatten(3).flatten(0, 1))  # (N * E, 1, P)
        mean = mean.view_as(top) / self.channels
        maps = _channels_last(torch.cat((top, mean), dim=2))  # (N, 2E, H, W)
        pairs = depthwise(maps, cbam.conv.weight.view(-1, 1, *cbam.conv.kernel_size)).unflatten(1, (self.edges, 2))
        return cbam.bn(pairs.sum(2)).sigmoid().flatten(2).unsqueeze(2)

    def _local_gates(self, x: Tensor, packed: Mapping[str, Tensor], operations: Mapping[str, nn.Module]) -> Tensor:
        """n with m, and n2 with m2: ``(N, 2, E, C + 1, P)``."""
        maps = torch.cat((x, channel_max(x), x.mean(2, keepdim=True)), dim=2)
        maps = _channels_last(maps.expand(-1, self.edges, -1, -1, -1))  # (N, E * (C + 2), H, W)
        first_norms, last_norms = _norms(operations)

        def separable(maps: Tensor, layer: str, dilation: int) -> Tensor:
            maps = depthwise(maps, packed[f'depthwise{layer}'], dilation)
            return F.conv2d(maps, packed[f'pointwise{layer}'], groups=self.groups)

        near = _batch_norm(separable(maps, '1', 1), first_norms, self.edges).relu_()
        logits = torch.stack(
            [
                part.unflatten(1, (self.edges, -1))
                for part in (separable(near, '2', 1), separable(maps, '_d2', 2))
            ],
            dim=1,
        )  # (N, 2, E, C + 1, H, W)
        gates = _batch_norm(logits.flatten(1, 3), last_norms, self.edges).sigmoid()
        return gates.view(*logits.shape[:4], -1)

    def _local_weights(self, w: Mapping[str, Tensor]) -> Tensor:
        """Weights of :meth:`_local_gates`, ``(1, 2, E, C + 1, 1)``."""
        rows = [
            torch.cat((w[f'norm_3x3{dilation}'].expand(-1, self.channels), w[f'spatial_3x3{dilation}']), dim=1)
            for dilation in ('', '_d2')
        ]
        return torch.stack(rows)[None, ..., None]


def _channels_last(x: Tensor) -> Tensor:
    """``(N, E, C, H, W)`` to ``(N, E * C, H, W)`` with the channels of a pixel side by side, in one copy."""
    edges, channels = x.shape[1:3]
    return x.permute(0, 3, 4, 1, 2).reshape(len(x), *x.shape[-2:], edges * channels).permute(0, 3, 1, 2)


def _norms(operations: Mapping[str, nn.Module]) -> tuple[list[list[nn.BatchNorm2d]], list[list[nn.BatchNorm2d]]]:
    """Those after the first and after the last point-wise convolutions, in rows of dilation."""
    norm, norm_d2, spatial, spatial_d2 = (operations[name].convs for name in list(LEARNED)[:4])
    return [[norm[2], spatial[2]]], [[norm[6], spatial[6]], [norm_d2[2], spatial_d2[2]]]


def _batch_norm(x: Tensor, norms: Sequence[Sequence[nn.BatchNorm2d]], edges: int) -> Tensor:
    """Several batch norms at once; x's channels are those of each row, for each edge, of each norm in the row."""
    flat = [norm for row in norms for norm in row]
    first = flat[0]
    if not first.training:
        mean, var = (
            torch.cat([torch.cat([getattr(n, key).view(edges, -1) for n in row], 1).flatten() for row in norms])
            for key in ('running_mean', 'running_var')
        )
        return F.batch_norm(x, mean, var, eps=first.eps)
    # With momentum 1 the "running" statistics are the batch's own.
    batch = first.running_mean.new_zeros(2, x.size(1))
    y = F.batch_norm(x, batch[0], batch[1], training=True, momentum=1.0, eps=first.eps)
    new: list[Tensor] = []
    for row, statistics in zip(norms, batch.chunk(len(norms), dim=1)):
        sizes = [norm.num_features // edges for norm in row]
        new += [part for key in statistics.view(2, edges, -1) for part in key.split(sizes, dim=1)]
    running = [
        getattr(norm, key).view(edges, -1) for row in norms for key in ('running_mean', 'running_var') for norm in row
    ]
    torch._foreach_lerp_(running, new, first.momentum)
    torch._foreach_add_([norm.num_batches_tracked for norm in flat], 1)
    return y


def _parameters(operations: Mapping[str, nn.Module]) -> list[Tensor]:
    """What :func:`_packing` places, in its order."""
    norm, norm_d2, spatial, spatial_d2, se, se2, cbam = (operations[name] for name in LEARNED)
    near = [op.convs[i].weight for op in (norm, spatial) for i in (0, 1, 4, 5)]
    far = [op.convs[i].weight for op, layers in ((norm_d2, (0, 1)), (spatial_d2, (0, 1, 1))) for i in layers]
    mlps = [se, se2, cbam.channel, se2, cbam.channel]  # on the mean, and two on the maximum
    weights = [getattr(mlp, layer).weight for layer in ('squeeze', 'excite') for mlp in mlps]
    biases = [cbam.channel.squeeze.bias] * 2 + [cbam.channel.excite.bias]
    return [*near, *far, *weights, *biases]


def _packing(channels: int, edges: int, hidden: int, groups: int) -> Packing:
    """Where :func:`_parameters` go."""
    c, maps = channels, channels + 2
    outputs = {'1': maps, '2': c + 1, '_d2': c + 1}
    layout = Layout(
        {
            **{f'depthwise{layer}': (edges * maps, 1, 3, 3) for layer in outputs},
            **{f'pointwise{layer}': (edges * out, edges * maps // groups, 1, 1) for layer, out in outputs.items()},
            'squeeze': (edges, 2 * c, 5 * hidden),
            'excite': (edges, 5 * hidden, 3 * c),
            'squeeze_bias': (edges, 1, 5 * hidden),
            'excite_bias': (edges, 1, 3 * c),
        }
    )

    def depthwise(layer: str, inputs: slice) -> Tensor:
        return layout[f'depthwise{layer}'].view(edges, maps, 9)[:, inputs]

    def pointwise(layer: str, out: slice, inputs: slice) -> Tensor:
        blocks = layout[f'pointwise{layer}']
        if groups == 1:
            blocks = blocks.view(edges, -1, edges, maps).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        return blocks.view(edges, -1, maps)[:, out, inputs] if groups > 1 else blocks[:, out, inputs]

    x, pooled, logit = slice(c), slice(c, None), slice(c, c + 1)
    near = [
        block
        for own, last in ((x, x), (pooled, logit))
        for block in (
            depthwise('1', own),
            pointwise('1', own, own),
            depthwise('2', own),
            pointwise('2', last, own),
        )
    ]
    far = [
        depthwise('_d2', x),
        pointwise('_d2', x, x),
        depthwise('_d2', pooled),
        pointwise('_d2', logit, slice(c, c + 1)),
        pointwise('_d2', logit, slice(c + 1, c + 2)),
    ]
    units = [slice(i * hidden, (i + 1) * hidden) for i in range(5)]
    poolings = [x, x, x, pooled, pooled]
    gates = [slice(i * c, (i + 1) * c) for i in (0, 1, 2, 1, 2)]
    squeeze = [layout['squeeze'][:, rows, own].mT for rows, own in zip(poolings, units)]
    excite = [layout['excite'][:, own, columns].mT for own, columns in zip(units, gates)]
    biases = [layout['squeeze_bias'][:, 0, units[2]], layout['squeeze_bias'][:, 0, units[4]]]
    return Packing(layout, [*near, *far, *squeeze, *excite, *biases, layout['excite_bias'][:, 0, 2 * c :]])
