"""CIFAR ResNets (He et al. 2016, section 4.2) for the search and Tables 1, 2 and 6, and the ResNeXt of Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmhoga.backbones.blocks import BasicBlock, Bottleneck, ResidualBlock
from mmhoga.backbones.resnet import ResNet
from mmhoga.registry import MODELS


@MODELS.register_module()
class CIFARResNet(ResNet):
    """A 3x3 stem without pooling, then three stages of n BasicBlocks: depth 6n + 2.

    Stages 2 and 3 begin with a projection (1x1 convolution and norm), as in the code of the HOGA authors; He et al. pad
    the shortcut with zeros. With ``base_channels=16`` and a 10-class head, ResNet-20 has 272,474 parameters.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, 110, ...
        base_channels: width of the stem and the first stage, which doubles in each later stage.
        out_indices: the stages to return, by default the last.
        kwargs: as in :class:`ResNet`, except ``num_stages`` and ``deep_stem``; a plugin's ``stages`` has three entries.

    Raises:
        ValueError: a depth that is not 6n + 2, and the errors of :class:`ResNet`.

    Shape: ``(N, in_channels, H, W)`` to a tuple with, for stage i, ``(N, base_channels * 2^i, H / 2^i, W / 2^i)``.
    """

    block: type[ResidualBlock] = BasicBlock
    layers = 6  # of one block per stage
    small_inputs = True

    def __init__(
        self, depth: int, *, base_channels: int = 16, out_indices: Sequence[int] = (2,), **kwargs: Any
    ) -> None:
        super().__init__(
            depth, base_channels=base_channels, num_stages=3, out_indices=out_indices, deep_stem=False, **kwargs
        )

    def architecture(self, depth: int) -> tuple[type[ResidualBlock], tuple[int, ...]]:
        n = max(1, (depth - 2) // self.layers)
        nearest = self.layers * n + 2
        if depth != nearest:
            raise ValueError(
                f'A {type(self).__name__} has depth {self.layers}n + 2, not {depth}: the nearest are {nearest} and '
                f'{nearest + self.layers}.'
            )
        return self.block, (n, n, n)


@MODELS.register_module()
class CIFARResNeXt(CIFARResNet):
    """Three stages of n Bottlenecks, depth 9n + 2 (Xie et al. 2017, section 5.3).

    The paper does not specify the ResNeXt of its Table 3. With ``depth=29, base_channels=64, groups=8,
    width_per_group=4`` and a 10-class head it has 1.72 M parameters (paper: 1.71 M), and SE after each block adds 0.52
    M, as in the paper.

    Arguments and errors are those of :class:`CIFARResNet`, except that the depth is 29, 56, 83, ...

    Shape: ``(N, in_channels, H, W)`` to a tuple with, for stage i, ``(N, 4 * base_channels * 2^i, H / 2^i, W / 2^i)``.
    """

    block = Bottleneck
    layers = 9
