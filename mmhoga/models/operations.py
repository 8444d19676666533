"""The candidate attention operations of section 3.2, and the table from name to class.

Every operation is ``gate(F) * F``: the identity has gate 1, zero has gate 0 (Eq. 9), and the others end in a sigmoid. A
search exploits this: a mixed edge (Eq. 13) is one product, ``(sum_o w_o gate_o(F)) * F``.

An operation serves ``edges`` edges at once, each with weights of its own, stacked along the first dimension of every
parameter and buffer. A derived cell has ``edges=1``; a supernet gives all edges that leave one node to one operation.
Shapes: N images, E edges, C channels of a group, H x W pixels.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Callable

from torch import Tensor, nn

from mmhoga.models.fast.kernels import channel_pool
from mmhoga.models.fast.layers import NarrowBatchNorm2d, PointwiseConv2d


class Source:
    """A node's tensor and the statistics of it that several operations share, each computed once.

    Args:
        x: ``(N, E, C, H, W)``, one input an edge; or ``(N, 1, C, H, W)``, one input for all edges.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._shared: dict[tuple, Tensor] = {}

    def maps(self, edges: int) -> Tensor:
        """The input as maps for a convolution over all edges, ``(N, E * C, H, W)``."""
        return self._once(('maps', edges), lambda: _per_edge(self.x, edges))

    def avg(self, edges: int) -> Tensor:
        """F^c_avg of Eq. (4), ``(N, E * C, 1, 1)``."""
        average = self._once(('avg',), lambda: mean(self.x, (-2, -1)))
        return _per_edge(average, edges)

    def max(self, edges: int) -> Tensor:
        """F^c_max of Eq. (5), ``(N, E * C, 1, 1)``."""
        top = self._once(('max',), lambda: self.x.amax((-2, -1), keepdim=True))
        return _per_edge(top, edges)

    def channel_pool(self, edges: int) -> Tensor:
        """[F^s_max; F^s_avg] of Eq. (6), ``(N, E * 2, H, W)``."""
        return self._once(('channel_pool', edges), lambda: _per_edge(channel_pool(self.x), edges))

    def _once(self, key: tuple, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._shared:
            self._shared[key] = compute()
        return self._shared[key]


def mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """``x.mean(dims, keepdim=True)``, dividing what is small: the mean's own derivative divides all of x's gradient."""
    return x.sum(dims, keepdim=True) / math.prod([x.size(dim) for dim in dims])


def _per_edge(x: Tensor, edges: int) -> Tensor:
    return x.expand(-1, edges, -1, -1, -1).flatten(1, 2)


class AttentionOperation(nn.Module):
    """The contract: ``gate`` maps a :class:`Source` to a factor that broadcasts to ``(N, E, C, H, W)``.

    Args:
        channels: C, the channels of one group.
        edges: E, how many edges the operation serves at once.
        reduction: the squeeze of a channel MLP; at least one hidden unit remains.
        affine: whether batch norms learn a scale and a shift (section 1 of DARTS' search: off while searching).
    """

    def __init__(self, channels: int, edges: int = 1, *, reduction: int = 4, affine: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.edges = edges

    def gate(self, source: Source) -> Tensor:
        raise NotImplementedError(f'{type(self).__name__} must define gate(source).')

    def forward(self, source: Source) -> Tensor:
        """``(N, E, C, H, W)``, or with one shared input the same."""
        # x comes first: of two memory formats the result takes that of the first operand.
        return source.x * self.gate(source)

    def edge_state(self, edge: int) -> dict[str, Tensor]:
        """The state dict of the same operation with ``edges=1`` that does what this one does on ``edge``."""
        return {
            name: value if value.dim() == 0 else value.chunk(self.edges)[edge]
            for name, value in self.state_dict().items()
        }


class Zero(AttentionOperation):
    """``none``: A_0 of Eq. (9)."""

    def gate(self, source: Source) -> Tensor:
        return source.x.new_zeros(())


class Identity(AttentionOperation):
    """``skip_connect``: A_1 of Eq. (9)."""

    def gate(self, source: Source) -> Tensor:
        return source.x.new_ones(())

    def forward(self, source: Source) -> Tensor:
        return source.x.expand(-1, self.edges, -1, -1, -1)


class ChannelAttention(AttentionOperation):
    """``se``: Eq. (4). The MLP has no biases."""

    bias = False

    def __init__(self, channels: int, edges: int = 1, *, reduction: int = 4, affine: bool = True) -> None:
        super().__init__(channels, edges)
        # The release squeezes 4 channels by 8 to no hidden unit at all, a constant gate of 0.5.
        hidden = max(1, channels // reduction)
        self.squeeze = PointwiseConv2d(edges * channels, edges * hidden, groups=edges, bias=self.bias)
        self.excite = PointwiseConv2d(edges * hidden, edges * channels, groups=edges, bias=self.bias)

    def gate(self, source: Source) -> Tensor:
        return self._sigmoid(self._mlp(source.avg(self.edges)))

    def _mlp(self, pooled: Tensor) -> Tensor:
        """``(N, E * C, 1, 1)``, logits from pooled features."""
        return self.excite(self.squeeze(pooled).relu())

    def _sigmoid(self, logits: Tensor) -> Tensor:
        return logits.sigmoid().unflatten(1, (self.edges, -1))  # (N, E, C, 1, 1)


class ChannelAttentionV2(ChannelAttention):
    """``se_avgmax``: Eq. (5), one MLP for both poolings."""

    def gate(self, source: Source) -> Tensor:
        return self._sigmoid(self._mlp(source.avg(self.edges)) + self._mlp(source.max(self.edges)))


class SpatialAttention(AttentionOperation):
    """``spatial_3x3``, ``spatial_3x3_d2``: Eq. (6), f_s as in the released code.

    Dilation 1: twice depth-wise 3x3, point-wise, BN, with a ReLU between; the second squeezes 2 maps to 1. Dilation 2:
    one dense 3x3 from 2 maps to 1, a 1x1, BN.
    """

    def __init__(
        self,
        channels: int,
        edges: int = 1,
        *,
        dilation: int = 1,
        reduction: int = 4,
        affine: bool = True,
    ) -> None:
        super().__init__(channels, edges)
        if dilation == 1:
            self.convs = nn.Sequential(
                *_separable(2, 2, edges, dilation, affine),
                nn.ReLU(inplace=True),
                *_separable(2, 1, edges, dilation, affine),
            )
        else:
            self.convs = nn.Sequential(
                _conv3x3(edges * 2, edges, dilation, groups=edges),
                PointwiseConv2d(edges, edges, groups=edges, bias=False),
                NarrowBatchNorm2d(edges, affine=affine),
            )

    def gate(self, source: Source) -> Tensor:
        logits = self.convs(source.channel_pool(self.edges))  # (N, E, H, W)
        return logits.sigmoid().unsqueeze(2)  # (N, E, 1, H, W)


class NormalizationAttention(AttentionOperation):
    """``norm_3x3``, ``norm_3x3_d2``: Eq. (7), f_n as in the released code.

    Dilation 1: twice depth-wise 3x3, point-wise, BN, with a ReLU between. Dilation 2: once.
    """

    def __init__(
        self,
        channels: int,
        edges: int = 1,
        *,
        dilation: int = 1,
        reduction: int = 4,
        affine: bool = True,
    ) -> None:
        super().__init__(channels, edges)
        layers = _separable(channels, channels, edges, dilation, affine)
        if dilation == 1:
            layers += [nn.ReLU(inplace=True), *_separable(channels, channels, edges, dilation, affine)]
        self.convs = nn.Sequential(*layers)

    def gate(self, source: Source) -> Tensor:
        logits = self.convs(source.maps(self.edges))
        return logits.sigmoid().unflatten(1, (self.edges, -1))  # (N, E, C, H, W)


class CBAM(AttentionOperation):
    """``cbam``: Eq. (8), channel attention v2 with biases, then a 7x7 spatial attention on what it passes."""

    def __init__(self, channels: int, edges: int = 1, *, reduction: int = 4, affine: bool = True) -> None:
        super().__init__(channels, edges)
        self.channel = _BiasedChannelAttentionV2(channels, edges, reduction=reduction)
        self.conv = nn.Conv2d(edges * 2, edges, 7, padding=3, groups=edges, bias=False)
        # Affine also while searching, and slow statistics: CBAM's own code and the release agree on both.
        self.bn = NarrowBatchNorm2d(edges, momentum=0.01)

    def gate(self, source: Source) -> Tensor:
        channel = self.channel.gate(source)  # (N, E, C, 1, 1)
        pooled = channel_pool(source.x, channel).flatten(1, 2)  # (N, E * 2, H, W)
        spatial = self.bn(self.conv(pooled)).sigmoid().unsqueeze(2)  # (N, E, 1, H, W)
        return channel * spatial


class _BiasedChannelAttentionV2(ChannelAttentionV2):
    bias = True


def _conv3x3(inputs: int, outputs: int, dilation: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, groups=groups, bias=False)


def _separable(inputs: int, outputs: int, edges: int, dilation: int, affine: bool) -> list[nn.Module]:
    """Depth-wise 3x3, point-wise within each edge, BN."""
    wide = edges * inputs
    return [
        _conv3x3(wide, wide, dilation, groups=wide),
        PointwiseConv2d(wide, edges * outputs, groups=edges, bias=False),
        NarrowBatchNorm2d(edges * outputs, affine=affine),
    ]


#: From a primitive's name to its constructor ``(channels, edges=1, *, reduction, affine)``.
OPERATIONS: dict[str, Callable[..., AttentionOperation]] = {
    'none': Zero,
    'skip_connect': Identity,
    'norm_3x3': NormalizationAttention,
    'norm_3x3_d2': partial(NormalizationAttention, dilation=2),
    'spatial_3x3': SpatialAttention,
    'spatial_3x3_d2': partial(SpatialAttention, dilation=2),
    'se': ChannelAttention,
    'se_avgmax': ChannelAttentionV2,
    'cbam': CBAM,
}
