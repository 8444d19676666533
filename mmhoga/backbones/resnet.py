"""A ResNet for mmpretrain, mmdet and mmpose, whose blocks all take plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, ClassVar

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.backbones.blocks import BasicBlock, Bottleneck, ResidualBlock, build_shortcut
from mmhoga.backbones.checkpoints import check_checkpoint
from mmhoga.backbones.plugins import plugins_per_block
from mmhoga.backbones.stages import check_stages, dcn_per_stage
from mmhoga.host_resnets import refuse_arguments
from mmhoga.models.arguments import check_shares
from mmhoga.models.loading import watch_loading
from mmhoga.models.norms import log_norms
from mmhoga.registry import MODELS


@MODELS.register_module()
class ResNet(BaseModule):
    """ResNet, wide ResNet or ResNeXt, with the arguments, keys and numerics of the hosts.

    Checkpoints of the ResNets, ResNetV1c, ResNetV1d and ResNeXts of the hosts load without changes. With ``deep_stem``,
    and with ``avg_down`` in a Bottleneck, the keys of the hosts differ. They are mmdet's here, and those of mmpretrain
    and mmpose are renamed when they are loaded.

    This class replaces the hosts' ``ResNet``. :data:`mmhoga.host_resnets.EQUIVALENTS` lists what a config must add
    when it replaces another class. The hosts' defaults differ: in mmdet all stages are returned and ``norm_eval`` is
    True.

    ``zero_init_residual`` sets the weight of the last norm of a block to 0, as in the hosts, *unless* a plugin with the
    class attribute ``normalizes_input = True`` (HOGA, SearchableHOGA) follows this norm. With an all-zero input all
    gradients inside HOGA are zero except that of one shift, and for inputs near zero each batch norm inside amplifies
    by up to ``1 / sqrt(eps)``. So the norm starts at 1 in a BasicBlock with HOGA ``after_conv2``. It starts at 0 in a
    Bottleneck with HOGA ``after_conv2``, where the last norm follows HOGA, and before any other attention.

    Args:
        depth: 18, 34 (BasicBlock), 50, 101 or 152 (Bottleneck).
        in_channels: of the image.
        stem_channels: width of the stem, by default ``base_channels``.
        base_channels: width of the first stage. ``depth=18, base_channels=96, stem_channels=64`` is WRN-18 of width
            1.5: 25.88 M parameters with 1000 classes, and 26.07 M with SE, as in Table 4 of the paper.
        groups, width_per_group: of a ResNeXt, 32 and 4 for 32x4d (Bottleneck only).
        base_width: mmdet's name for ``width_per_group``.
        num_stages: 1 to 4.
        strides, dilations: one per stage; by default (1, 2, 2, 2) and (1, 1, 1, 1).
        out_indices: the stages to return, by default the last.
        style: ``'pytorch'`` or ``'caffe'``, see :class:`ResidualBlock`.
        deep_stem: three 3x3 convolutions instead of the 7x7.
        avg_down: average pooling and stride 1 instead of a strided projection.
        frozen_stages: 0 freezes the stem, n also the first n stages, plugins included; -1 freezes nothing.
        conv_cfg, norm_cfg: for mmcv's builders.
        stage_conv_cfgs: one per stage: None, or a ``conv_cfg`` for the 3x3 convolutions of its blocks, such as
            ``dict(type='mmhoga.AugmentedConv2d', feat_size=14)``.
        norm_eval: batch norms keep their statistics in training.
        dcn, stage_with_dcn: mmdet's names: a ``conv_cfg`` for the 3x3 convolutions of Bottlenecks, and one True or
            False per stage.
        plugins: a list of ``dict(cfg=dict(type='mmhoga.HOGA', ...), position='after_conv2', stages=(True,) * 4)``, see
            :func:`plugins_per_block`.
        with_cp: recompute blocks in the backward pass to save memory.
        zero_init_residual: initialise each block as the identity, see above.
        drop_path_rate: stochastic depth (Huang et al. 2016): the last block is left out for this share of the images,
            the blocks before it for linearly less.
        init_cfg: by default Kaiming for convolutions and one for norms.
        others: arguments of other networks of the hosts, which are refused with what to do instead.

    Raises:
        ValueError: an unknown depth or style, stages that do not fit ``num_stages``, groups without a Bottleneck, an
            argument of another network; when a checkpoint is loaded, one of another network; and the errors of
            :func:`plugins_per_block` and :class:`ResidualBlock`.

    Shape: ``(N, in_channels, H, W)`` to a tuple, with ``(N, expansion * base_channels * 2^i, H / s, W / s)`` for stage
    i, where s = 4, 8, 16, 32 by default.
    """

    arch_settings: dict[int, tuple[type[ResidualBlock], tuple[int, ...]]] = {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }
    small_inputs: ClassVar[bool] = False  # a 3x3 stem without stride and pooling

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        stem_channels: int | None = None,
        base_channels: int = 64,
        groups: int = 1,
        width_per_group: int | None = None,
        base_width: int | None = None,
        num_stages: int = 4,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        out_indices: Sequence[int] | None = None,
        style: str = 'pytorch',
        deep_stem: bool = False,
        avg_down: bool = False,
        frozen_stages: int = -1,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        stage_conv_cfgs: Sequence[dict | None] | None = None,
        norm_eval: bool = False,
        dcn: Mapping[str, Any] | None = None,
        stage_with_dcn: Sequence[bool] | None = None,
        plugins: Sequence[Mapping[str, Any]] | None = None,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        drop_path_rate: float = 0.0,
        init_cfg: dict | list | None = None,
        **others: Any,
    ) -> None:
        refuse_arguments(type(self).__name__, others)
        if init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            ]
        super().__init__(init_cfg)
        block, stage_blocks = self.architecture(depth)
        strides = (1, 2, 2, 2)[:num_stages] if strides is None else strides
        dilations = (1,) * num_stages if dilations is None else dilations
        out_indices = (num_stages - 1,) if out_indices is None else out_indices
        if dcn is not None:
            stage_conv_cfgs = dcn_per_stage(dcn, stage_with_dcn, stage_conv_cfgs, block is Bottleneck)
        stage_conv_cfgs = (None,) * num_stages if stage_conv_cfgs is None else stage_conv_cfgs
        per_stage = dict(strides=strides, dilations=dilations, stage_conv_cfgs=stage_conv_cfgs)
        check_stages(num_stages, len(stage_blocks), per_stage, out_indices, frozen_stages)
        if style not in ('pytorch', 'caffe'):
            raise ValueError(f"style must be 'pytorch' or 'caffe', not {style!r}.")
        if groups != 1 and block is not Bottleneck:
            raise ValueError(f'groups={groups} needs Bottleneck blocks: set depth to 50, 101 or 152.')
        if width_per_group and base_width and width_per_group != base_width:
            raise ValueError(
                f'width_per_group={width_per_group} and base_width={base_width} are names of one argument: give one.'
            )
        width_per_group = width_per_group or base_width or 4

        self.deep_stem = deep_stem
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        layers: dict[str, Any] = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg or dict(type='BN'))
        channels = stem_channels or base_channels
        self._make_stem(in_channels, channels, **layers)

        self.res_layers = []
        block_plugins = plugins_per_block(plugins, stage_blocks[:num_stages], block.positions)
        check_shares(drop_path_rate=drop_path_rate)
        last = max(1, sum(stage_blocks[:num_stages]) - 1)
        drop_rates = (drop_path_rate * number / last for number in count())
        for i in range(num_stages):
            planes = base_channels * 2**i
            out_channels = planes * block.expansion
            shortcut = build_shortcut(channels, out_channels, stride=strides[i], avg_down=avg_down, **layers)
            blocks = []
            for j in range(stage_blocks[i]):
                blocks.append(
                    block(
                        channels,
                        planes,
                        width=planes if groups == 1 else groups * width_per_group * 2**i,
                        stride=strides[i] if j == 0 else 1,
                        dilation=dilations[i],
                        groups=groups,
                        style=style,
                        downsample=shortcut if j == 0 else None,
                        conv3x3_cfg=stage_conv_cfgs[i],
                        plugins=block_plugins[i][j],
                        with_cp=with_cp,
                        zero_init_residual=zero_init_residual,
                        drop_path_rate=next(drop_rates),
                        **layers,
                    )
                )
                channels = out_channels
            name = f'layer{i + 1}'
            self.add_module(name, Sequential(*blocks))
            self.res_layers.append(name)

        self.feat_dim = channels
        self.train()
        log_norms(self, norm_cfg)
        # The public name of this method is younger than torch 2.0.
        self._register_load_state_dict_pre_hook(check_checkpoint, with_module=True)
        watch_loading(self, backbone=True)

    def architecture(self, depth: int) -> tuple[type[ResidualBlock], tuple[int, ...]]:
        """The block, and the number of blocks in each stage."""
        if depth not in self.arch_settings:
            raise ValueError(
                f'There is no {type(self).__name__} of depth {depth!r}. '
                f'Depths: {", ".join(map(str, self.arch_settings))}.'
            )
        return self.arch_settings[depth]

    def _make_stem(self, in_channels: int, channels: int, *, conv_cfg: dict | None, norm_cfg: dict) -> None:
        if self.deep_stem:
            half, layers = channels // 2, []
            for out_channels, stride in ((half, 2), (half, 1), (channels, 1)):
                geometry = dict(kernel_size=3, stride=stride, padding=1)
                layers += [
                    build_conv_layer(conv_cfg, in_channels, out_channels, **geometry, bias=False),
                    build_norm_layer(norm_cfg, out_channels)[1],
                    nn.ReLU(inplace=True),
                ]
                in_channels = out_channels
            self.stem = nn.Sequential(*layers)
        else:
            kernel, stride = (3, 1) if self.small_inputs else (7, 2)
            geometry = dict(kernel_size=kernel, stride=stride, padding=kernel // 2)
            self.conv1 = build_conv_layer(conv_cfg, in_channels, channels, **geometry, bias=False)
            self.norm1_name, norm1 = build_norm_layer(norm_cfg, channels, postfix=1)
            self.add_module(self.norm1_name, norm1)
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if self.small_inputs else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    @property
    def norm1(self) -> nn.Module:
        """The norm of the stem; its name depends on ``norm_cfg``."""
        return getattr(self, self.norm1_name)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        outputs = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> ResNet:
        """Training mode, except for frozen stages and, with ``norm_eval``, for batch norms."""
        super().train(mode)
        frozen = [getattr(self, name) for name in self.res_layers[: max(0, self.frozen_stages)]]
        if self.frozen_stages >= 0:
            frozen += [self.stem] if self.deep_stem else [self.conv1, self.norm1]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
