"""A primitive of your own: Efficient Channel Attention (Wang et al., CVPR 2020), in one file.

It is like ``se``, but the gate of a channel depends only on its neighbours, through a convolution over channels with
three weights.
"""

from torch import Tensor, nn

from mmhoga.models import AttentionOperation, EdgeInput, register_primitive


@register_primitive('eca')
class EfficientChannelAttention(AttentionOperation):
    """``sigmoid(conv(mean over pixels))`` with a convolution along the channels."""

    def __init__(self, channels: int, edges: int = 1, *, reduction: int = 4, affine: bool = True) -> None:
        super().__init__(channels, edges)
        # A supernet computes all edges that leave a node at once, so there is one group per edge.
        self.conv = nn.Conv1d(edges, edges, 3, padding=1, groups=edges, bias=False)

    def gate(self, edge_input: EdgeInput) -> Tensor:
        means = edge_input.avg(self.edges).unflatten(1, (self.edges, self.channels))  # (N, E, C, 1, 1)
        return self.conv(means.flatten(2)).sigmoid()[..., None, None]
