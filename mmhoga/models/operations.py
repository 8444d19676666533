"""The attention operations of section 3.2 and the table of their names.

Three words: an *operation* is the module that an edge applies; a *primitive* is the name of an operation in a genotype;
a *candidate* is a primitive that a search chooses from.

Every operation is ``gate(F) * F``. The gate of the identity is 1, the gate of zero is 0 (Eq. 9), and the others end in
a sigmoid. A mixed edge of a search (Eq. 13) is therefore one product, ``(sum_o mix_o gate_o(F)) * F``.

An operation computes ``edges`` edges at once. Each edge has its own weights, stacked along the first dimension of every
parameter and buffer. A derived cell has ``edges=1``; in a supernet one operation computes all edges that leave a node.
Shapes: N images, E edges, C channels per group, H x W pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Callable

from torch import Tensor, nn

from mmhoga.models.fast.kernels.convolutions import PointwiseConv2d
from mmhoga.models.fast.kernels.pools import channel_pool, pixel_mean
from mmhoga.models.norms import build_norm


class EdgeInput:
    """The input tensor of one or more edges, and its statistics, each computed once for all operations.

    Args:
        x: ``(N, E, C, H, W)``, one input per edge; or ``(N, 1, C, H, W)``, one input for all edges.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._computed: dict[tuple, Tensor] = {}

    def maps(self, edges: int) -> Tensor:
        """The input as maps for a convolution over all edges, ``(N, E * C, H, W)``."""
        return self._once(('maps', edges), lambda: _per_edge(self.x, edges))

    def avg(self, edges: int) -> Tensor:
        """F^c_avg of Eq. (4), ``(N, E * C, 1, 1)``."""
        return _per_edge(self._once(('avg',), lambda: pixel_mean(self.x)), edges)

    def max(self, edges: int) -> Tensor:
        """F^c_max of Eq. (5), ``(N, E * C, 1, 1)``."""
        return _per_edge(self._once(('max',), lambda: self.x.amax((-2, -1), keepdim=True)), edges)

    def channel_pool(self, edges: int) -> Tensor:
        """[F^s_max; F^s_avg] of Eq. (6), ``(N, E * 2, H, W)``."""
        return self._once(('channel_pool', edges), lambda: _per_edge(channel_pool(self.x), edges))

    def _once(self, key: tuple, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]


def _per_edge(x: Tensor, edges: int) -> Tensor:
    return x.expand(-1, edges, -1, -1, -1).flatten(1, 2)


def split_edges(x: Tensor, edges: int) -> Tensor:
    """``(N, E * C, H, W)`` to ``(N, E, C, H, W)``."""
    return x.view(x.size(0), edges, x.size(1) // edges, *x.shape[2:])  # unflatten needs opset 13 in ONNX


class AttentionOperation(nn.Module):
    """Base class of all operations: ``gate`` maps an :class:`EdgeInput` to a factor for the edge's input.

    Args:
        channels: C, the channels of one group.
        edges: E, the number of edges that the operation computes at once.
        reduction: the squeeze of a channel MLP; at least one hidden unit remains.
        affine: whether norms learn a scale and a shift. A supernet turns this off, as DARTS does.

    Operations with norms also take ``norm_cfg``, see :func:`mmhoga.models.norms.build_norm`; a cell passes its own to
    every operation whose constructor has this argument.

    Example:
        >>> import torch
        >>> from mmhoga.models import AttentionOperation, EdgeInput
        >>> class Half(AttentionOperation):
        ...     def gate(self, edge_input):
        ...         return edge_input.x.new_full((), 0.5)
        >>> Half(channels=4)(EdgeInput(torch.ones(1, 1, 4, 2, 2))).unique()
        tensor([0.5000])
    """

    def __init__(self, channels: int, edges: int = 1, *, reduction: int = 4, affine: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.edges = edges

    def gate(self, edge_input: EdgeInput) -> Tensor:
        """A factor that broadcasts to ``(N, E, C, H, W)``."""
        raise NotImplementedError(f'{type(self).__name__} must define gate(edge_input).')

    def forward(self, edge_input: EdgeInput) -> Tensor:
        """``(N, E, C, H, W)``, also for one input that all edges share."""
        # x comes first: the result takes the memory format of the first operand.
        return edge_input.x * self.gate(edge_input)

    def edge_state(self, edge: int) -> dict[str, Tensor]:
        """The state dict of an operation with ``edges=1`` that computes what this one computes on ``edge``."""
        return {
            name: value if value.dim() == 0 else value.chunk(self.edges)[edge]
            for name, value in self.state_dict().items()
        }


class Zero(AttentionOperation):
    """``none``: A_0 of Eq. (9)."""

    def gate(self, edge_input: EdgeInput) -> Tensor:
        return edge_input.x.new_zeros(())


class Identity(AttentionOperation):
    """``skip_connect``: A_1 of Eq. (9)."""

    def gate(self, edge_input: EdgeInput) -> Tensor:
        return edge_input.x.new_ones(())

    def forward(self, edge_input: EdgeInput) -> Tensor:
        return edge_input.x.expand(-1, self.edges, -1, -1, -1)


class ChannelAttention(AttentionOperation):
    """``se``: Eq. (4). The MLP has no biases, except in CBAM."""

    def __init__(
        self, channels: int, edges: int = 1, *, reduction: int = 4, affine: bool = True, bias: bool = False
    ) -> None:
        super().__init__(channels, edges)
        # The released code squeezes 4 channels by 8 to no hidden unit, which gives a constant gate of 0.5.
        hidden = max(1, channels // reduction)
        self.squeeze = PointwiseConv2d(edges * channels, edges * hidden, groups=edges, bias=bias)
        self.excite = PointwiseConv2d(edges * hidden, edges * channels, groups=edges, bias=bias)

    def gate(self, edge_input: EdgeInput) -> Tensor:
        return self._sigmoid(self._mlp(edge_input.avg(self.edges)))

    def _mlp(self, pooled: Tensor) -> Tensor:
        """``(N, E * C, 1, 1)``, logits from pooled features."""
        return self.excite(self.squeeze(pooled).relu())

    def _sigmoid(self, logits: Tensor) -> Tensor:
        return split_edges(logits.sigmoid(), self.edges)  # (N, E, C, 1, 1)


class DoubledAttention(ChannelAttention):
    """SE with its gate times 2: the identity while its logits are 0."""

    def gate(self, edge_input: EdgeInput) -> Tensor:
        return 2 * super().gate(edge_input)


class ChannelAttentionV2(ChannelAttention):
    """``se_avgmax``: Eq. (5), one MLP for both poolings."""

    def gate(self, edge_input: EdgeInput) -> Tensor:
        return self._sigmoid(self._mlp(edge_input.avg(self.edges)) + self._mlp(edge_input.max(self.edges)))


class SpatialAttention(AttentionOperation):
    """``spatial_3x3`` and ``spatial_3x3_d2``: Eq. (6), with f_s from the released code.

    Dilation 1: depth-wise 3x3, point-wise and BN, twice, with a ReLU between; the second point-wise convolution maps
    2 maps to 1. Dilation 2: a dense 3x3 from 2 maps to 1, a 1x1 and BN.
    """

    def __init__(
        self,
        channels: int,
        edges: int = 1,
        *,
        dilation: int = 1,
        reduction: int = 4,
        affine: bool = True,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channels, edges)
        if dilation == 1:
            self.convs = nn.Sequential(
                *_separable(2, 2, edges, dilation, affine, norm_cfg),
                nn.ReLU(inplace=True),
                *_separable(2, 1, edges, dilation, affine, norm_cfg),
            )
        else:
            self.convs = nn.Sequential(
                _conv3x3(edges * 2, edges, dilation, groups=edges),
                PointwiseConv2d(edges, edges, groups=edges, bias=False),
                build_norm(norm_cfg, 1, edges, affine=affine),
            )

    def gate(self, edge_input: EdgeInput) -> Tensor:
        logits = self.convs(edge_input.channel_pool(self.edges))  # (N, E, H, W)
        return logits.sigmoid().unsqueeze(2)  # (N, E, 1, H, W)


class NormalizationAttention(AttentionOperation):
    """``norm_3x3`` and ``norm_3x3_d2``: Eq. (7), with f_n from the released code.

    Dilation 1: depth-wise 3x3, point-wise and BN, twice, with a ReLU between. Dilation 2: once.
    """

    def __init__(
        self,
        channels: int,
        edges: int = 1,
        *,
        dilation: int = 1,
        reduction: int = 4,
        affine: bool = True,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channels, edges)
        layers = _separable(channels, channels, edges, dilation, affine, norm_cfg)
        if dilation == 1:
            layers += [nn.ReLU(inplace=True), *_separable(channels, channels, edges, dilation, affine, norm_cfg)]
        self.convs = nn.Sequential(*layers)

    def gate(self, edge_input: EdgeInput) -> Tensor:
        logits = self.convs(edge_input.maps(self.edges))
        return split_edges(logits.sigmoid(), self.edges)  # (N, E, C, H, W)


class CBAM(AttentionOperation):
    """``cbam``: Eq. (8), channel attention v2 with biases, then a 7x7 spatial attention on its output."""

    def __init__(
        self,
        channels: int,
        edges: int = 1,
        *,
        reduction: int = 4,
        affine: bool = True,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channels, edges)
        self.channel = ChannelAttentionV2(channels, edges, reduction=reduction, bias=True)
        self.conv = nn.Conv2d(edges * 2, edges, 7, padding=3, groups=edges, bias=False)
        # Affine also in a search, and with slow statistics: the code of CBAM and the released code agree on both.
        self.bn = build_norm(norm_cfg, 1, edges, momentum=0.01)

    def gate(self, edge_input: EdgeInput) -> Tensor:
        channel = self.channel.gate(edge_input)  # (N, E, C, 1, 1)
        pooled = channel_pool(edge_input.x, channel).flatten(1, 2)  # (N, E * 2, H, W)
        spatial = self.bn(self.conv(pooled)).sigmoid().unsqueeze(2)  # (N, E, 1, H, W)
        return channel * spatial


def _conv3x3(inputs: int, outputs: int, dilation: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, groups=groups, bias=False)


def _separable(
    inputs: int, outputs: int, edges: int, dilation: int, affine: bool, norm_cfg: Mapping[str, Any] | None
) -> list[nn.Module]:
    """Depth-wise 3x3, point-wise within each edge, norm."""
    wide = edges * inputs
    return [
        _conv3x3(wide, wide, dilation, groups=wide),
        PointwiseConv2d(wide, edges * outputs, groups=edges, bias=False),
        build_norm(norm_cfg, outputs, edges, affine=affine),
    ]


#: The constructor ``(channels, edges=1, *, reduction, affine)`` of each primitive.
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


def __getattr__(name: str) -> Any:
    if name == 'Source':
        warnings.warn('Source is now called EdgeInput: import that.', DeprecationWarning, stacklevel=2)
        return EdgeInput
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
