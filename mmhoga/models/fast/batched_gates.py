"""Eq. (13) for all edges that leave one node, in about a tenth of the operator calls of one gate after the other.

The mixed gate of one edge, for channel c and pixel p, with w for its mix::

    G[c, p] =   w_norm n[c, p] + w_norm2 n2[c, p]               normalization attention, dilations 1 and 2, Eq. (7)
              + w_skip + w_se s[c] + w_se2 s2[c]                identity, channel attentions, Eqs. (9), (4), (5)
              + w_spatial m[p] + w_spatial2 m2[p]               spatial attention, dilations 1 and 2, Eq. (6)
              + w_cbam b[c] q[p]                                CBAM, Eq. (8)

All but the first line is a matrix product of rank 3, ``[A, 1, w_cbam b] @ [1; B; q]``, with A and B the second and
third line.

- n and m apply the same layers to different maps: depth-wise 3x3, point-wise, BN, ReLU, and again. They run as one on
  the C + 2 maps ``[x; max_c x; mean_c x]`` per edge; the point-wise weights are block matrices.
- So do n2 and m2. The dense 3x3 of m2 from 2 maps to 1, with its factor f, equals a depth-wise 3x3 and the point-wise
  ``[f, f]``. The dense 7x7 of CBAM equals a depth-wise one and the sum of two maps.
- s, s2 and b are MLPs on ``[max_p x; mean_p x]``: two matrix products with block matrices.

Composing each depth-wise and point-wise convolution into one dense 3x3 saves a call but is slower: forward and backward
took 27 ms instead of 12 ms (CPU, channels_last, C = 4, 4 edges, 64 x 32 x 32).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmhoga.models.fast.kernels.convolutions import separable
from mmhoga.models.fast.kernels.modes import transformed
from mmhoga.models.fast.kernels.norms import NarrowBatchNorm2d, Norm, weighted_gates
from mmhoga.models.fast.kernels.pools import channel_pool, pixel_pool
from mmhoga.models.operations import (
    CBAM,
    AttentionOperation,
    ChannelAttention,
    ChannelAttentionV2,
    NormalizationAttention,
    SpatialAttention,
)

#: The candidates with weights, all of which must be there: each with its class.
LEARNED: dict[str, type[AttentionOperation]] = {
    'norm_3x3': NormalizationAttention,
    'norm_3x3_d2': NormalizationAttention,
    'spatial_3x3': SpatialAttention,
    'spatial_3x3_d2': SpatialAttention,
    'se': ChannelAttention,
    'se_avgmax': ChannelAttentionV2,
    'cbam': CBAM,
}

# Up to this width a dense point-wise convolution, zeros included, is faster than one with a group per edge.
DENSE_WIDTH = 48


class BatchedGates(nn.Module):
    """The mixed gates of :data:`LEARNED`, zero and identity, for E edges with a shared input or one input each.

    It has no parameters: the operations keep them and are passed to each call. ``hidden`` is the number of units of a
    channel MLP; ``primitives`` are the candidates in the order of the columns of the mix.
    """

    index: Tensor  # of the elements of :func:`_parameters` in the matrices, one after the other
    pairs: Tensor  # (E, 2E, 1, 1), adds the two maps of each edge
    selector: Tensor  # (M, 2 (C + 1) + 9 + 3), from the mix of an edge to the coefficients of its gates in G
    constant: Tensor  # the coefficients that do not depend on the mix

    def __init__(self, channels: int, edges: int, hidden: int, primitives: Sequence[str]) -> None:
        super().__init__()
        self.channels, self.edges = channels, edges
        self.groups = 1 if edges * (channels + 2) <= DENSE_WIDTH else edges
        self.shapes, blocks = _layout(channels, edges, hidden, self.groups)
        buffers = {
            'index': torch.cat([block.flatten() for block in blocks]),
            'pairs': torch.eye(edges).repeat_interleave(2, dim=1)[..., None, None],
            'selector': _selector(channels, primitives),
            'constant': torch.eye(2 * channels + 14)[-2],  # the 1 in [A, 1, w_cbam b]
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    @classmethod
    def of(cls, operations: Mapping[str, Any]) -> BatchedGates | None:
        """For these candidates; None if one of :data:`LEARNED` is missing or has another class."""
        if any(type(operations.get(name)) is not kind for name, kind in LEARNED.items()):
            return None
        se = operations['se']
        return cls(se.channels, se.edges, se.squeeze.out_channels // se.edges, list(operations))

    @staticmethod
    def covered_names(operations: Mapping[str, Any]) -> list[str]:
        """The candidates whose gates are in G."""
        return [name for name in operations if name in (*LEARNED, 'none', 'skip_connect')]

    @staticmethod
    def is_applicable(operations: Mapping[str, Any]) -> bool:
        """Whether the batch norms have one mode, are local to the process, and are otherwise as they were built.

        False within ``torch.func``.
        """
        norms = [norm for layer in _norms(operations) for row in layer for norm in row]
        return not transformed() and all(
            type(norm) is NarrowBatchNorm2d
            and (norm.training, norm.momentum, norm.eps) == (norms[0].training, norms[0].momentum, norms[0].eps)
            and norm.momentum is not None
            and norm.track_running_stats
            for norm in norms
        )

    def forward(self, x: Tensor, mix: Tensor, operations: Mapping[str, Any]) -> Tensor:
        """G, ``(N, E, C, H, W)``, from ``x`` ``(N, E or 1, C, H, W)`` and ``mix`` ``(E, M)``.

        Operations that are not in :meth:`covered_names` are ignored.
        """
        packed = self._matrices(operations)
        # All coefficients in G are linear in the mix.
        coefficients = torch.addmm(self.constant, mix, self.selector)
        local_mix, matrix, offset = coefficients.split((2 * self.channels + 2, 9, 3), dim=1)

        channel_gates = self._channel_gates(x, packed)  # (E, N, C, 3)
        q = self._cbam_map(x, channel_gates[..., 2].transpose(0, 1), operations['cbam'])
        # Contiguous, since products with it take its strides.
        local_mix = local_mix.view(self.edges, 2, -1).transpose(0, 1).contiguous()[None, ..., None, None]
        local_gates = self._local_gates(x, packed, local_mix, operations).flatten(3)
        normalization, spatial = local_gates.split((self.channels, 1), dim=2)  # (N, E, C, P), (N, E, 1, P)

        left = torch.baddbmm(offset.view(-1, 1, 3), channel_gates.flatten(1, 2), matrix.view(-1, 3, 3))
        left = left.view(self.edges, -1, self.channels, 3).transpose(0, 1)  # [A, 1, w_cbam b], (N, E, C, 3)
        right = torch.cat((self.constant[-2].expand_as(q), spatial, q), dim=2)  # [1; B; q], (N, E, 3, P)
        total = torch.baddbmm(normalization.flatten(0, 1), left.flatten(0, 1), right.flatten(0, 1))
        return total.view(len(x), self.edges, self.channels, *x.shape[-2:])

    def _matrices(self, operations: Mapping[str, Any]) -> dict[str, Tensor]:
        """The parameters as a few block matrices, all other elements of which are zero.

        Each element is written at most once, so the gradient is a gather, which is deterministic on every device.
        """
        values = torch.cat([parameter.flatten() for parameter in _parameters(operations)])
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = values.new_zeros(sum(sizes)).index_copy(0, self.index, values).split(sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts)}

    def _channel_gates(self, x: Tensor, packed: Mapping[str, Tensor]) -> Tensor:
        """s, s2 and b, ``(E, N, C, 3)``."""
        pooled = pixel_pool(x).flatten(2).transpose(0, 1)  # (E or 1, N, 2C)
        hidden = torch.baddbmm(packed['squeeze_bias'], pooled.expand(self.edges, -1, -1), packed['squeeze']).relu()
        # Twice, since the MLP adds its bias for each of the two poolings.
        logits = torch.baddbmm(2 * packed['excite_bias'], hidden, packed['excite'])
        return logits.sigmoid().unflatten(2, (self.channels, 3))

    def _cbam_map(self, x: Tensor, b: Tensor, cbam: Any) -> Tensor:
        """q, ``(N, E, 1, P)``."""
        maps = _channels_last(channel_pool(x, b[..., None, None]))  # (N, 2E, H, W)
        logits = separable(maps, cbam.conv.weight.reshape(-1, 1, *cbam.conv.kernel_size), self.pairs)
        return cbam.bn(logits).sigmoid().flatten(2).unsqueeze(2)

    def _local_gates(
        self, x: Tensor, packed: Mapping[str, Tensor], mix: Tensor, operations: Mapping[str, Any]
    ) -> Tensor:
        """The mixed sums over dilations of n and m, ``(N, E, C + 1, H, W)``."""
        maps = torch.cat((x, channel_pool(x)), dim=2)
        maps = _channels_last(maps.expand(-1, self.edges, -1, -1, -1))  # (N, E * (C + 2), H, W)

        def layer(maps: Tensor, name: str, **kwargs: Any) -> Tensor:
            kernels = packed[f'depthwise{name}'], packed[f'pointwise{name}']
            return separable(maps, *kernels, groups=self.groups, **kwargs)

        inner, last = (JointNorm(norms, self.edges) for norms in _norms(operations))
        dilation_1 = layer(layer(maps, '1'), '2', norm=inner.norm)
        dilation_2 = layer(maps, '_d2', dilation=2)
        logits = torch.stack([part.unflatten(1, (self.edges, -1)) for part in (dilation_1, dilation_2)], dim=1)
        gates = weighted_gates(logits, mix, last.norm)
        if inner.training:
            update(inner, last)
        return gates


def _channels_last(x: Tensor) -> Tensor:
    """``(N, E, C, H, W)`` to ``(N, E * C, H, W)`` in channels_last, in one copy."""
    edges, channels = x.shape[1:3]
    maps = x.permute(0, 3, 4, 1, 2).reshape(len(x), *x.shape[-2:], edges * channels).permute(0, 3, 1, 2)
    return maps.contiguous(memory_format=torch.channels_last)  # the reshape may have been a view


def _norms(operations: Mapping[str, Any]) -> tuple[list[list[nn.BatchNorm2d]], list[list[nn.BatchNorm2d]]]:
    """The norms after the first and after the last point-wise convolutions, one row per dilation."""
    norm, norm_d2, spatial, spatial_d2 = (operations[name].convs for name in list(LEARNED)[:4])
    return [[norm[2], spatial[2]]], [[norm[6], spatial[6]], [norm_d2[2], spatial_d2[2]]]


class JointNorm:
    """Several batch norms as one. The order of its channels is: row, edge, norm in the row, channel of the norm."""

    def __init__(self, norms: Sequence[Sequence[nn.BatchNorm2d]], edges: int) -> None:
        self.rows, self.edges = norms, edges
        self.modules: list[Any] = [norm for row in norms for norm in row]
        model = self.modules[0]
        self.training, self.momentum = model.training, model.momentum
        if self.training:
            mean, var = model.running_mean.new_zeros(2, sum(norm.num_features for norm in self.modules))
        else:
            mean, var = (self._joined(key) for key in ('running_mean', 'running_var'))
        self.norm = Norm(mean, var, self.training, model.eps)

    def _joined(self, key: str) -> Tensor:
        rows = [torch.cat([getattr(norm, key).view(self.edges, -1) for norm in row], dim=1) for row in self.rows]
        return torch.cat([row.flatten() for row in rows])


def update(*joints: JointNorm) -> None:
    """Update the running statistics as batch norms do, after a forward pass in training mode."""
    running, batch = [], []
    for joint in joints:
        for key, joined in (('running_mean', joint.norm.mean), ('running_var', joint.norm.var)):
            for row, part in zip(joint.rows, joined.view(len(joint.rows), joint.edges, -1)):
                running += [getattr(norm, key).view(joint.edges, -1) for norm in row]
                batch += part.split([norm.num_features // joint.edges for norm in row], dim=1)
    torch._foreach_lerp_(running, batch, joints[0].momentum)
    torch._foreach_add_([module.num_batches_tracked for joint in joints for module in joint.modules], 1)


def _parameters(operations: Mapping[str, Any]) -> list[Tensor]:
    """The tensors for the blocks of :func:`_layout`, in the same order."""
    norm, norm_d2, spatial, spatial_d2, se, se2, cbam = (operations[name] for name in LEARNED)
    dilation_1 = [op.convs[i].weight for op in (norm, spatial) for i in (0, 1, 4, 5)]
    # The point-wise weight of m2 twice: [f, f].
    dilation_2 = [op.convs[i].weight for op, layers in ((norm_d2, (0, 1)), (spatial_d2, (0, 1, 1))) for i in layers]
    mlps = [se, se2, cbam.channel, se2, cbam.channel]  # three on the mean, two on the maximum
    weights = [getattr(mlp, layer).weight for layer in ('squeeze', 'excite') for mlp in mlps]
    biases = [cbam.channel.squeeze.bias] * 2 + [cbam.channel.excite.bias]
    return [*dilation_1, *dilation_2, *weights, *biases]


def _selector(channels: int, primitives: Sequence[str]) -> Tensor:
    """The coefficients that each candidate contributes: for n and m, for n2 and m2, for ``[A, 1, w_cbam b]``."""
    sizes = (channels + 1, channels + 1, 9, 3)
    dilation_1, dilation_2, matrix, offset = torch.arange(2 * channels + 14).split(sizes)
    places = {
        'norm_3x3': dilation_1[:-1],
        'spatial_3x3': dilation_1[-1:],
        'norm_3x3_d2': dilation_2[:-1],
        'spatial_3x3_d2': dilation_2[-1:],
        'se': matrix[0],  # from s to A
        'se_avgmax': matrix[3],  # from s2 to A
        'cbam': matrix[8],  # from b to w_cbam b
        'skip_connect': offset[0],  # in A
    }
    selector = torch.zeros(len(primitives), 2 * channels + 14)
    for row, name in zip(selector, primitives):
        if name in places:
            row[places[name]] = 1
    return selector


def _layout(channels: int, edges: int, hidden: int, groups: int) -> tuple[dict[str, tuple[int, ...]], list[Tensor]]:
    """The shapes of the matrices, and for each tensor of :func:`_parameters` the positions of its elements in them."""
    c, maps = channels, channels + 2
    outputs = {'1': maps, '2': c + 1, '_d2': c + 1}
    shapes: dict[str, tuple[int, ...]] = {
        **{f'depthwise{layer}': (edges * maps, 1, 3, 3) for layer in outputs},
        **{f'pointwise{layer}': (edges * out, edges * maps // groups, 1, 1) for layer, out in outputs.items()},
        'squeeze': (edges, 2 * c, 5 * hidden),
        'excite': (edges, 5 * hidden, 3 * c),
        'squeeze_bias': (edges, 1, 5 * hidden),
        'excite_bias': (edges, 1, 3 * c),
    }
    sizes = [math.prod(shape) for shape in shapes.values()]
    parts = torch.arange(sum(sizes)).split(sizes)
    matrices = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}

    def depthwise(layer: str, inputs: slice) -> Tensor:
        return matrices[f'depthwise{layer}'].view(edges, maps, 9)[:, inputs]

    def pointwise(layer: str, out: slice, inputs: slice) -> Tensor:
        blocks = matrices[f'pointwise{layer}']
        if groups == 1:
            blocks = blocks.view(edges, -1, edges, maps).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        return blocks.reshape(edges, -1, maps)[:, out, inputs]

    x, pooled, logit = slice(c), slice(c, None), slice(c, c + 1)
    dilation_1 = [
        block
        for inputs, outputs_2 in ((x, x), (pooled, logit))
        for block in (
            depthwise('1', inputs),
            pointwise('1', inputs, inputs),
            depthwise('2', inputs),
            pointwise('2', outputs_2, inputs),
        )
    ]
    dilation_2 = [
        depthwise('_d2', x),
        pointwise('_d2', x, x),
        depthwise('_d2', pooled),
        pointwise('_d2', logit, slice(c, c + 1)),
        pointwise('_d2', logit, slice(c + 1, c + 2)),
    ]
    maxima, means = slice(c), slice(c, None)
    units = [slice(i * hidden, (i + 1) * hidden) for i in range(5)]
    gates = [slice(i, None, 3) for i in (0, 1, 2, 1, 2)]
    squeeze = [matrices['squeeze'][:, pooling, unit].mT for pooling, unit in zip([means] * 3 + [maxima] * 2, units)]
    excite = [matrices['excite'][:, unit, gate].mT for unit, gate in zip(units, gates)]
    biases = [matrices['squeeze_bias'][:, 0, unit] for unit in (units[2], units[4])]
    return shapes, [*dilation_1, *dilation_2, *squeeze, *excite, *biases, matrices['excite_bias'][:, 0, gates[2]]]
