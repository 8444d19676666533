"""mmhoga.ResNet has the keys of the hosts in the same order, and the same outputs for the same weights."""

from __future__ import annotations

import pytest
import torch
from host_networks import ALL_STAGES, HOSTS, NARROW, assert_same, mmdet, randomize
from mmengine.registry import DefaultScope

from mmhoga.backbones import ResNet

SHARED = {
    **{str(depth): dict(depth=depth, **ALL_STAGES) for depth in (18, 34, 50, 101, 152)},
    'caffe': dict(depth=50, style='caffe', out_indices=(3,)),
    'ssd': dict(depth=50, num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), out_indices=(0, 2)),
    'basic dilated': dict(depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), out_indices=(1, 3)),
    'basic avg_down': dict(depth=18, avg_down=True, **ALL_STAGES),
    'group norm': dict(depth=18, norm_cfg=dict(type='GN', num_groups=2), **ALL_STAGES),
    'own stem': dict(depth=18, stem_channels=16, **ALL_STAGES),
}


@pytest.mark.parametrize('host', HOSTS)
@pytest.mark.parametrize('variant', SHARED)
def test_resnet_equals_the_hosts(host, variant):
    arguments = {**NARROW, **SHARED[variant]}
    assert_same(ResNet(**arguments), HOSTS[host].ResNet(norm_eval=False, **arguments))


@pytest.mark.parametrize('host', HOSTS)
def test_resnext_equals_the_hosts(host):
    arguments = dict(depth=50, groups=4, **NARROW, **ALL_STAGES)
    width = {'base_width' if host == 'mmdet' else 'width_per_group': 4}
    ours = ResNet(**arguments, **width)
    assert ours.layer2[0].conv2.weight.shape == (32, 8, 3, 3)
    assert_same(ours, HOSTS[host].ResNeXt(norm_eval=False, **arguments, **width))


@pytest.mark.parametrize(
    'arguments',
    [dict(depth=50, deep_stem=True), dict(depth=50, avg_down=True), dict(depth=18, deep_stem=True)],
)
def test_where_hosts_disagree_we_follow_mmdet(arguments):
    arguments = {**arguments, **NARROW, **ALL_STAGES}
    assert_same(ResNet(**arguments), mmdet.ResNet(norm_eval=False, **arguments))


@pytest.mark.parametrize('resnext', [{}, dict(groups=4, base_width=4)])
def test_plugins_equal_mmdet(resnext):
    context = dict(type='ContextBlock', ratio=0.5)
    plugins = [
        dict(cfg=dict(context, postfix='_late'), position='after_conv3', stages=(False, True, True, False)),
        dict(cfg=dict(context, postfix='_1'), position='after_conv1'),
        dict(cfg=dict(context, fusion_types=('channel_mul',)), position='after_conv2', stages=(True, False) * 2),
        dict(cfg=dict(context, postfix=3), position='after_conv3'),
    ]
    arguments = dict(depth=50, plugins=plugins, **NARROW, **ALL_STAGES, **resnext)
    theirs = (mmdet.ResNeXt if resnext else mmdet.ResNet)(norm_eval=False, **arguments)
    assert_same(ResNet(**arguments), theirs)


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('host', HOSTS)
def test_initial_weights_equal_the_hosts(host, depth):
    arguments = dict(depth=depth, out_indices=(3,), **NARROW)
    states = []
    for model in (ResNet(**arguments), HOSTS[host].ResNet(**arguments)):
        torch.manual_seed(0)
        model.init_weights()
        states.append(model.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert (states[0]['layer1.1.bn2.weight' if depth == 18 else 'layer1.1.bn3.weight'] == 0).all()


def test_one_checkpoint_of_resnet50_with_hoga_serves_all_hosts():
    from mmdet.registry import MODELS as MMDET
    from mmpose.registry import MODELS as MMPOSE
    from mmpretrain.registry import MODELS as MMPRETRAIN

    plugins = [dict(cfg=dict(type='mmhoga.HOGA'), stages=(True,) * 4, position='after_conv2')]
    backbone = dict(type='mmhoga.ResNet', depth=50, plugins=plugins)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = MMPRETRAIN.build(
            dict(
                type='ImageClassifier',
                backbone=backbone,
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=1000, in_channels=2048),
            )
        )
    assert sum(p.numel() for p in classifier.parameters()) == 29_392_084
    with DefaultScope.overwrite_default_scope('mmdet'):
        detection = MMDET.build(dict(type='ResNet', depth=50, out_indices=(3,), norm_eval=False, plugins=plugins))
    with DefaultScope.overwrite_default_scope('mmpose'):
        pose = MMPOSE.build(
            dict(
                type='TopdownPoseEstimator',
                data_preprocessor=dict(type='PoseDataPreprocessor'),
                backbone=backbone,
                head=dict(
                    type='HeatmapHead',
                    in_channels=2048,
                    out_channels=17,
                    deconv_out_channels=None,
                    loss=dict(type='KeypointMSELoss'),
                    decoder=dict(type='MSRAHeatmap', input_size=(64, 64), heatmap_size=(2, 2), sigma=2),
                ),
            )
        ).backbone

    state = randomize(classifier.backbone).state_dict()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    classifier.eval()
    expected = classifier.extract_feat(x, stage='backbone')[-1]
    for model in (detection, pose):
        result = model.load_state_dict(state, strict=False)
        assert not result.missing_keys
        assert not result.unexpected_keys
        model.eval()
        torch.testing.assert_close(model(x)[-1], expected)


def test_a_detector_takes_basic_blocks_with_hoga():
    from mmdet.registry import MODELS as MMDET

    plugins = [dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')]
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MMDET.build(
            dict(
                type='RetinaNet',
                data_preprocessor=dict(type='DetDataPreprocessor'),
                backbone=dict(
                    type='mmhoga.ResNet',
                    depth=18,
                    base_channels=8,
                    out_indices=(0, 1, 2, 3),
                    frozen_stages=1,
                    norm_eval=True,
                    plugins=plugins,
                ),
                neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, start_level=1, num_outs=3),
                bbox_head=dict(
                    type='RetinaHead',
                    num_classes=3,
                    in_channels=8,
                    stacked_convs=1,
                    feat_channels=8,
                    anchor_generator=dict(
                        type='AnchorGenerator',
                        octave_base_scale=4,
                        scales_per_octave=1,
                        ratios=[1.0],
                        strides=[8, 16, 32],
                    ),
                    bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
                    loss_cls=dict(type='FocalLoss', use_sigmoid=True),
                    loss_bbox=dict(type='L1Loss'),
                ),
            )
        )
        detector.init_weights()
        scores, _ = detector(torch.randn(2, 3, 64, 64), None, mode='tensor')
    assert [tuple(score.shape[-2:]) for score in scores] == [(8, 8), (4, 4), (2, 2)]
    cell = detector.backbone.layer1[0].hoga
    assert not any(p.requires_grad for p in cell.parameters())
