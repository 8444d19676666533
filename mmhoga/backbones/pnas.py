"""A CIFAR network of the cells from PNAS (Liu et al. 2018), for Table 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn

from mmhoga.backbones.plugins import add_plugin, plugins_per_block
from mmhoga.models.loading import watch_loading
from mmhoga.models.norms import log_norms
from mmhoga.registry import MODELS


class PNASCell(BaseModule):
    """The cell of two blocks: ``relu(bn(conv1x1([relu(dw7(x) + dw3(x)), relu(maxpool3(x) + dw5(x))])))``.

    dw is a depth-wise convolution with a norm. Position ``after_cell`` is after the last norm, before the last ReLU.

    Args:
        in_channels: C_in, which divides ``out_channels``.
        out_channels: C_out.
        stride: 1 or 2, of all branches. With 2, a 1x1 convolution follows the pooling.

    Raises:
        ValueError: two plugins would get the same name.
    """

    positions: ClassVar[tuple[str, ...]] = ('after_cell',)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        norm_cfg: dict,
        plugins: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()

        def conv(inputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
                build_norm_layer(norm_cfg, out_channels)[1],
            )

        self.separable7 = conv(in_channels, 7, stride, groups=in_channels)
        self.separable3 = conv(in_channels, 3, stride, groups=in_channels)
        self.separable5 = conv(in_channels, 5, stride, groups=in_channels)
        pool = nn.MaxPool2d(3, stride, padding=1)
        self.pool = pool if stride == 1 else nn.Sequential(pool, conv(in_channels, 1))
        self.reduce = conv(2 * out_channels, 1)
        self.relu = nn.ReLU()
        self.plugin_names = [add_plugin(self, plugin['cfg'], out_channels, norm_cfg) for plugin in plugins]

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C_in, H, W)`` to ``(N, C_out, H / stride, W / stride)``."""
        left = self.relu(self.separable7(x) + self.separable3(x))
        right = self.relu(self.pool(x) + self.separable5(x))
        x = self.reduce(torch.cat((left, right), dim=1))
        for name in self.plugin_names:
            x = getattr(self, name)(x)
        return self.relu(x)


@MODELS.register_module()
class CIFARPNASNet(BaseModule):
    """Three stages of ``num_cells`` :class:`PNASCell`, a strided cell before the second and the third.

    The paper specifies neither the cell nor the size. We infer the cell of two blocks: with 6 cells per stage and width
    42 the network has the 0.72 M parameters of Table 3, and SE adds 0.03 M, as there. The 4 groups of HOGA do not
    divide 42, so the configs use 40.

    Args:
        base_channels: width of the stem and the first stage, which doubles in each later stage.
        num_cells: per stage, without the strided cell.
        in_channels: of the image.
        norm_cfg: for mmcv's builder.
        plugins: as in :class:`ResNet`, with three stages and ``position='after_cell'``, which includes strided cells.
        init_cfg: by default Kaiming for convolutions and one for norms.

    Raises:
        ValueError: the errors of :func:`plugins_per_block`.

    Shape: ``(N, in_channels, H, W)`` to a tuple with ``(N, 4 * base_channels, H / 4, W / 4)``.
    """

    def __init__(
        self,
        *,
        base_channels: int = 40,
        num_cells: int = 6,
        in_channels: int = 3,
        norm_cfg: dict | None = None,
        plugins: Sequence[Mapping[str, Any]] | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer='_BatchNorm')]
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='BN')
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, base_channels, 3, padding=1, bias=False),
            build_norm_layer(norm_cfg, base_channels)[1],
            nn.ReLU(),
        )
        channels = base_channels
        stage_cells = (num_cells, num_cells + 1, num_cells + 1)
        for i, stage_plugins in enumerate(plugins_per_block(plugins, stage_cells, PNASCell.positions)):
            width = base_channels * 2**i
            cells = []
            for j, cell_plugins in enumerate(stage_plugins):
                stride = 2 if i and not j else 1
                cells.append(PNASCell(channels, width, stride=stride, norm_cfg=norm_cfg, plugins=cell_plugins))
                channels = width
            self.add_module(f'layer{i + 1}', Sequential(*cells))
        log_norms(self, norm_cfg)
        watch_loading(self, backbone=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return (self.layer3(self.layer2(self.layer1(self.stem(x)))),)
