"""Insertion into every family of backbones: of mmdet, mmpose and mmpretrain, of timm, and of torchvision.

One row per family. A row fails if the cells change the outputs by a bit, rename a key, or do not learn.
"""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

import mmhoga
from mmhoga.insertion import cells_of

pytest.importorskip('mmdet')
pytest.importorskip('mmpose')
pytest.importorskip('mmpretrain')
timm = pytest.importorskip('timm')
torchvision = pytest.importorskip('torchvision')

CELL = dict(type='mmhoga.HOGA', genotype='autola')
FROZEN = dict(frozen_stages=1, norm_eval=True)
NARROW = dict(depth=50, stem_channels=8, base_channels=8)
CSP = dict(deepen_factor=0.1, widen_factor=0.25)  # one block per stage, and 16 to 256 channels
HRNET = dict(
    extra={
        'stage1': dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,), num_channels=(16,)),
        **{
            f'stage{n}': dict(
                num_modules=1, num_branches=n, block='BASIC', num_blocks=(1,) * n, num_channels=(16, 32, 64, 128)[:n]
            )
            for n in (2, 3, 4)
        },
    },
    norm_eval=True,
)

# (host, config of the backbone, modules): cells go after these modules.
HOST_BACKBONES = [
    ('mmdet', dict(HRNET, type='HRNet'), r'stage[234]\.0\.branches\.[01]\.0\.conv2'),
    ('mmpose', dict(HRNET, type='HRNet'), r'stage[234]\.0\.branches\.[01]'),
    ('mmdet', dict(CSP, **FROZEN, type='CSPNeXt'), r'stage\d\.\d\.blocks\.0'),  # RTMDet
    ('mmpose', dict(CSP, **FROZEN, type='CSPNeXt'), r'stage\d'),  # RTMPose
    ('mmdet', dict(CSP, **FROZEN, type='CSPDarknet'), r'stage\d\.\d\.blocks\.0\.conv2'),  # YOLOX
    ('mmdet', dict(FROZEN, type='MobileNetV2', widen_factor=0.5), r'layer[1357]'),
    ('mmpretrain', dict(FROZEN, type='MobileNetV2', widen_factor=0.5), r'layer[1357]\.0\.conv\.1'),
    ('mmpose', dict(FROZEN, type='MobileNetV2', widen_factor=0.5), r'layer[1357]\.0'),
    ('mmpretrain', dict(FROZEN, type='MobileNetV3', arch='small_075'), r'layer[159]\.depthwise_conv'),
    ('mmpose', dict(FROZEN, type='MobileNetV3', arch='small'), r'layer[159]'),
    (
        'mmpretrain',
        dict(type='ConvNeXt', arch=dict(depths=[1] * 4, channels=[16, 24, 32, 48]), frozen_stages=1),
        r'stages\.\d\.0\.depthwise_conv|stages\.3\.0\.pointwise_conv2',
    ),
    ('mmdet', dict(FROZEN, type='RegNet', arch='regnetx_400mf'), r'layer\d\.0\.conv2'),
    ('mmpretrain', dict(FROZEN, type='RegNet', arch='regnetx_400mf'), r'layer\d\.0'),
    ('mmdet', dict(NARROW, **FROZEN, type='Res2Net', base_width=16), r'layer\d\.0\.convs\.0|layer4'),
    ('mmpretrain', dict(NARROW, **FROZEN, type='Res2Net', base_width=16), r'layer\d\.0\.convs\.0'),
    ('mmdet', dict(NARROW, **FROZEN, type='ResNeSt'), r'layer\d\.0\.conv2'),
    ('mmpretrain', dict(NARROW, **FROZEN, type='ResNeSt'), r'layer\d\.0'),
    ('mmdet', dict(NARROW, **FROZEN, type='ResNetV1d'), r'layer\d\.0\.conv2'),
    ('mmpretrain', dict(NARROW, **FROZEN, type='ResNetV1d'), r'layer\d\.0\.conv2'),
    ('mmpose', dict(FROZEN, type='ResNet', depth=18), r'layer\d\.0\.conv2'),
    ('mmpretrain', dict(FROZEN, type='VGG', depth=11, norm_cfg=dict(type='BN')), r'features\.(0|2|5)'),
    (
        'mmdet',
        dict(type='SwinTransformer', embed_dims=16, depths=[1] * 4, num_heads=[1] * 4, window_size=4, frozen_stages=1),
        r'stages\.\d\.blocks\.0',
    ),
    (
        'mmpretrain',
        dict(
            FROZEN, type='SwinTransformer', arch=dict(embed_dims=16, depths=[1] * 4, num_heads=[1] * 4), window_size=2
        ),
        r'stages\.\d',
    ),
    (
        'mmpretrain',
        dict(
            type='VisionTransformer', arch=dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=32),
            img_size=64, patch_size=16, out_type='featmap', frozen_stages=1,
        ),
        r'layers\.\d',
    ),
    ('mmdet', dict(FROZEN, type='EfficientNet', arch='b0'), r'layers\.[135]\.0'),
    ('mmpretrain', dict(FROZEN, type='EfficientNet', arch='b0'), r'layers\.[135]\.0\.depthwise_conv'),
    ('mmpretrain', dict(type='TIMMBackbone', model_name='resnet10t'), r'timm_model\.layer\d\.0\.conv2'),
    ('mmpretrain', dict(type='TIMMBackbone', model_name='efficientnet_lite0', features_only=True), r'.*\.[024]\.0'),
]  # fmt: skip

LIBRARY_NETWORKS = [
    (timm.create_model, 'resnet10t', r'layer\d\.0\.conv2'),
    (timm.create_model, 'efficientnet_lite0', r'blocks\.[135]\.0\.conv_dw'),
    (timm.create_model, 'convnext_atto', r'stages\.\d\.blocks\.0'),
    (torchvision.models.get_model, 'mobilenet_v3_small', r'features\.(1|5|9)'),
    (torchvision.models.get_model, 'resnet18', r'layer\d\.0\.conv2'),
    (torchvision.models.get_model, 'swin_t', r'features\.[1357]\.0'),
]


def maps_of(output):
    """The tensors in the output of a backbone."""
    return [output] if torch.is_tensor(output) else [tensor for value in output for tensor in maps_of(value)]


@torch.no_grad()
def calibrate(network, images):
    """Random weights as after a training: no norm, bias or layer scale at 0 or 1, and statistics of the images.

    Many networks start with the last norm of a residual branch at 0, so that the branch has no effect on the output.
    """
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1:
            parameter.copy_(torch.rand_like(parameter) * 0.5 + (0.2 if name.endswith(('weight', 'gamma')) else -0.1))
    network.train()
    for _ in range(3):
        network(images)
    network.eval()  # returns None in backbones that freeze parts of themselves
    return network


def check_learning(network, images):
    """Two steps; every parameter of every cell has a gradient in the second, except an SE with a hidden unit off.

    The SEs of a narrow network have 1 or 2 hidden units. If one is off (ReLU) for all images in the first step, the
    weights behind it stay at 0, and those before it have no gradient.
    """
    cells = cells_of(network)
    network.train()
    assert all(module.training for cell in cells.values() for module in cell.modules())
    off = set()

    def note(attention, squeezed):
        if not (squeezed > 0).any(dim=0).all():
            off.update(attention.parameters())

    for attention in {module for cell in cells.values() for module in cell.modules() if hasattr(module, 'squeeze')}:
        attention.squeeze.register_forward_hook(lambda _, args, output, attention=attention: note(attention, output))
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        torch.manual_seed(0)
        loss = sum((tensor * torch.randn_like(tensor)).sum() for tensor in maps_of(network(images)))
        loss.backward()
        optimizer.step()
    named = {f'{cell}.{key}': p for cell, module in cells.items() for key, p in module.named_parameters()}
    idle = {name for name, p in named.items() if p.grad is None or not p.grad.any()}
    assert sorted(idle - {name for name, p in named.items() if p in off}) == []


def check(network, plain, expected, images):
    cells = tuple(f'{name}.' for name in cells_of(network))
    assert len(cells) >= 3
    for before, now in zip(expected, maps_of(network.eval()(images))):
        assert torch.equal(before, now)
    assert [key for key in network.state_dict() if not key.startswith(cells)] == list(plain.state_dict())
    check_learning(network, images)


@pytest.mark.parametrize(
    ('host', 'config', 'after'),
    [pytest.param(*row, id=f'{row[0]}-{row[1].get("model_name", row[1]["type"])}') for row in HOST_BACKBONES],
)
def test_host_backbone(host, config, after, tmp_path):
    """``mmhoga.Insert`` in a config, a checkpoint of the plain backbone, and settings that freeze parts of it."""
    init_default_scope(host)
    images = torch.randn(2, 3, 64, 64)
    trainable = {key: value for key, value in config.items() if key not in FROZEN}
    plain = calibrate(MODELS.build(trainable), images)
    expected = maps_of(plain(images))
    weights = {f'backbone.{key}': value for key, value in plain.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'plain.pth')
    network = MODELS.build(
        ConfigDict(
            config,
            type='mmhoga.Insert',
            into=config['type'],
            cell=CELL,
            after=after,
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'plain.pth'), prefix='backbone.'),
        )
    )
    assert type(network) is type(plain)
    network.init_weights()
    check(network, plain, expected, images)


@pytest.mark.parametrize(
    ('create', 'name', 'after'),
    [pytest.param(*row, id=f'{row[0].__module__.split(".")[0]}-{row[1]}') for row in LIBRARY_NETWORKS],
)
def test_library_network(create, name, after):
    """``mmhoga.insert`` on a network of timm or torchvision, and a checkpoint of the plain network."""
    images = torch.randn(2, 3, 64, 64)
    plain = calibrate(create(name, num_classes=5), images)
    expected = maps_of(plain(images))
    network = mmhoga.insert(create(name, num_classes=5), CELL, after=after)
    network.load_state_dict(plain.state_dict(), strict=False)
    check(network, plain, expected, images)
