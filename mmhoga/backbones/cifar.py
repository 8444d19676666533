"""CIFAR ResNets (He et al. 2016, section 4.2) for the search and Tables 1, 2 and 6, and the ResNeXt of Table 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

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
        groups, width_per_group: for :class:`CIFARResNeXt`.
        out_indices: the stages to return, by default the last.
        in_channels, frozen_stages, conv_cfg, norm_cfg, norm_eval, plugins, with_cp, zero_init_residual, init_cfg: as in
            :class:`ResNet`; a plugin's ``stages`` has three entries.

    Raises:
        ValueError: a depth that is not 6n + 2, and the errors of :class:`ResNet`.

    Shape: ``(N, in_channels, H, W)`` to a tuple with, for stage i, ``(N, base_channels * 2^i, H / 2^i, W / 2^i)``.
    """

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        base_channels: int = 16,
        groups: int = 1,
        width_per_group: int | None = None,
        out_indices: Sequence[int] = (2,),
        frozen_stages: int = -1,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        plugins: Sequence[Mapping[str, Any]] | None = None,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            depth,
            in_channels=in_channels,
            base_channels=base_channels,
            groups=groups,
            width_per_group=width_per_group,
            num_stages=3,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            conv_cfg=conv_cfg,
            norm_cfg=norm_cfg,
            norm_eval=norm_eval,
            plugins=plugins,
            with_cp=with_cp,
            zero_init_residual=zero_init_residual,
            init_cfg=init_cfg,
        )

    def architecture(self, depth: int) -> tuple[type[ResidualBlock], tuple[int, ...]]:
        n = max(1, (depth - 2) // 6)
        if depth != 6 * n + 2:
            raise ValueError(
                f'A CIFARResNet has depth 6n + 2, not {depth}: the nearest are {6 * n + 2} and {6 * n + 8}.'
            )
        return BasicBlock, (n, n, n)

    def _make_stem(self, in_channels: int, channels: int, *, conv_cfg: dict | None, norm_cfg: dict) -> None:
        self._make_conv_stem(in_channels, channels, kernel_size=3, stride=1, conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        self.maxpool = nn.Identity()


@MODELS.register_module()
class CIFARResNeXt(CIFARResNet):
    """Three stages of n Bottlenecks, depth 9n + 2 (Xie et al. 2017, section 5.3).

    The paper does not specify the ResNeXt of its Table 3. With ``depth=29, base_channels=64, groups=8,
    width_per_group=4`` and a 10-class head it has 1.72 M parameters (paper: 1.71 M), and SE after each block adds 0.52
    M, as in the paper.

    Arguments and errors are those of :class:`CIFARResNet`, except that the depth is 29, 56, 83, ...

    Shape: ``(N, in_channels, H, W)`` to a tuple with, for stage i, ``(N, 4 * base_channels * 2^i, H / 2^i, W / 2^i)``.
    """

    def architecture(self, depth: int) -> tuple[type[ResidualBlock], tuple[int, ...]]:
        n = max(1, (depth - 2) // 9)
        if depth != 9 * n + 2:
            raise ValueError(
                f'A CIFARResNeXt has depth 9n + 2, not {depth}: the nearest are {9 * n + 2} and {9 * n + 11}.'
            )
        return Bottleneck, (n, n, n)
