"""Residual blocks that take plugins after any of their convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmhoga.backbones.plugins import add_plugin


class ResidualBlock(BaseModule):
    """``relu(shortcut(x) + branch(x))``, where :meth:`layout` lists the convolutions of the branch.

    Convolution i becomes ``conv{i}``. After it come its norm ``bn{i}`` (the name depends on ``norm_cfg``), a ReLU
    unless it is the last one, and the plugins of position ``after_conv{i}``. The hosts have the same names and so the
    same keys in checkpoints.

    Args:
        in_channels: channels of x.
        channels: the nominal width; the block returns ``expansion * channels``.
        width: channels inside a Bottleneck (``channels`` except in a ResNeXt).
        stride, dilation, groups: of the 3x3 convolution (BasicBlock: the first).
        style: ``'pytorch'`` puts the stride of a Bottleneck on its 3x3 convolution, ``'caffe'`` on its first 1x1.
        downsample: the shortcut, if it is not the identity.
        conv_cfg, norm_cfg: for mmcv's builders.
        conv3x3_cfg: for the 3x3 convolutions instead of ``conv_cfg``.
        plugins: checked by :func:`mmhoga.backbones.plugins.plugins_per_block`.
        with_cp: recompute the block in the backward pass to save memory.
        zero_init_residual: see :class:`mmhoga.backbones.ResNet`.
        drop_path_rate: the share of the images for which the branch is left out in training.

    Raises:
        ValueError: two plugins would get the same name.
    """

    expansion: ClassVar[int]
    positions: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        width: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        style: str = 'pytorch',
        downsample: nn.Module | None = None,
        conv_cfg: dict | None = None,
        conv3x3_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        plugins: Sequence[Mapping[str, Any]] = (),
        with_cp: bool = False,
        zero_init_residual: bool = True,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else None
        layers = self.layout(channels, width, stride, dilation, groups, style)
        self.norm_names = []
        for i, layer in enumerate(layers, start=1):
            cfg = conv_cfg if conv3x3_cfg is None or layer['kernel_size'] != 3 else conv3x3_cfg
            self.add_module(f'conv{i}', build_conv_layer(cfg, in_channels, bias=False, **layer))
            in_channels = layer['out_channels']
            name, norm = build_norm_layer(norm_cfg or dict(type='BN'), in_channels, postfix=i)
            self.add_module(name, norm)
            self.norm_names.append(name)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.plugin_names = [
            [add_plugin(self, p['cfg'], layer['out_channels'], norm_cfg) for p in plugins if p['position'] == position]
            for position, layer in zip(self.positions, layers)
        ]
        after_last_norm = [getattr(self, name) for name in self.plugin_names[-1]]
        if zero_init_residual and not any(getattr(plugin, 'normalizes_input', False) for plugin in after_last_norm):
            self.init_cfg = dict(type='Constant', val=0, override=dict(name=self.norm_names[-1]))

    def layout(self, channels: int, width: int, stride: int, dilation: int, groups: int, style: str) -> list[dict]:
        """The arguments of ``build_conv_layer`` for each convolution of the branch."""
        raise NotImplementedError(f'{type(self).__name__} must define layout(...).')

    def _residual(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for i, (norm, plugins) in enumerate(zip(self.norm_names, self.plugin_names), start=1):
            x = getattr(self, norm)(getattr(self, f'conv{i}')(x))
            if i < len(self.norm_names):
                x = self.relu(x)
            for plugin in plugins:
                x = getattr(self, plugin)(x)
        # Not in place: a plugin may need its output in the backward pass.
        return (x if self.drop_path is None else self.drop_path(x)) + shortcut

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, expansion * channels, H / stride, W / stride)``."""
        if self.with_cp and x.requires_grad:
            return self.relu(checkpoint(self._residual, x, use_reentrant=False))
        return self.relu(self._residual(x))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, for ResNet-18, ResNet-34 and the CIFAR ResNets.

    Position ``after_conv1`` is after the first ReLU; ``after_conv2`` is after the second norm, before the addition.
    """

    expansion = 1
    positions = ('after_conv1', 'after_conv2')

    def layout(self, channels: int, width: int, stride: int, dilation: int, groups: int, style: str) -> list[dict]:
        return [
            dict(out_channels=channels, kernel_size=3, stride=stride, padding=dilation, dilation=dilation),
            dict(out_channels=channels, kernel_size=3, padding=1),
        ]


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions, for ResNet-50 and deeper, and for ResNeXt.

    Positions ``after_conv1`` and ``after_conv2`` are after a ReLU and have the inner width. ``after_conv3`` is after
    the last norm, before the addition, and has 4 times the nominal width.
    """

    expansion = 4
    positions = ('after_conv1', 'after_conv2', 'after_conv3')

    def layout(self, channels: int, width: int, stride: int, dilation: int, groups: int, style: str) -> list[dict]:
        stride1, stride2 = (1, stride) if style == 'pytorch' else (stride, 1)
        return [
            dict(out_channels=width, kernel_size=1, stride=stride1),
            dict(out_channels=width, kernel_size=3, stride=stride2, padding=dilation, dilation=dilation, groups=groups),
            dict(out_channels=channels * self.expansion, kernel_size=1),
        ]


def build_shortcut(
    in_channels: int,
    out_channels: int,
    *,
    stride: int,
    avg_down: bool,
    conv_cfg: dict | None,
    norm_cfg: dict,
) -> nn.Sequential | None:
    """The projection of the first block of a stage; None if the identity suffices."""
    if stride == 1 and in_channels == out_channels:
        return None
    layers: list[nn.Module] = []
    if avg_down:
        # Also at stride 1, where it has no effect: the keys of mmdet count it.
        layers.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
        stride = 1
    layers += [
        build_conv_layer(conv_cfg, in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        build_norm_layer(norm_cfg, out_channels)[1],
    ]
    return nn.Sequential(*layers)
