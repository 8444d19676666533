"""Arguments, freezing, initialisation and sizes of the backbone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmhoga.backbones import ResNet

HOGA = dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')


def attention(name):
    return [dict(cfg=dict(type='mmhoga.Attention', name=name), position='after_conv3')]


def millions(model, classes=1000):
    """Parameters with a linear head, as in Table 4 of the paper."""
    return round((sum(p.numel() for p in model.parameters()) + (model.feat_dim + 1) * classes) / 1e6, 2)


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (dict(depth=18), 11.69),
        (dict(depth=50), 25.56),
        (dict(depth=50, plugins=[HOGA]), 29.39),
        (dict(depth=101, plugins=[HOGA]), 51.81),
        (dict(depth=50, plugins=attention('se')), 28.09),
        (dict(depth=50, plugins=attention('cbam')), 28.07),
        (dict(depth=18, base_channels=96, stem_channels=64), 25.88),
        (dict(depth=50, groups=32, width_per_group=4), 25.03),
    ],
    ids=str,
)
def test_parameters_match_the_papers(arguments, expected):
    assert millions(ResNet(**arguments)) == expected


def test_wide_resnet_with_se_has_the_papers_size():
    plugins = [dict(cfg=dict(type='mmhoga.Attention', name='se'), position='after_conv2')]
    assert millions(ResNet(18, base_channels=96, stem_channels=64, plugins=plugins)) == 26.07


def test_outputs_by_default_the_last_stage():
    x = torch.rand(1, 3, 64, 64)
    (y,) = ResNet(18, base_channels=8)(x)
    assert y.shape == (1, 64, 2, 2)
    (y,) = ResNet(50, base_channels=8, num_stages=2)(x)
    assert y.shape == (1, 64, 8, 8)
    shapes = [tuple(y.shape) for y in ResNet(18, base_channels=8, out_indices=(2, 0))(x)]
    assert shapes == [(1, 8, 16, 16), (1, 32, 4, 4)]


def test_plugins_go_into_their_stages_only():
    plugins = [dict(HOGA, stages=(False, True, False, True))]
    model = ResNet(18, base_channels=8, plugins=plugins)
    found = [all(hasattr(block, 'hoga') for block in getattr(model, f'layer{i}')) for i in (1, 2, 3, 4)]
    assert found == [False, True, False, True]


def test_configs_are_not_changed():
    plugins = [dict(cfg=dict(type='mmhoga.HOGA', postfix='_1'), position='after_conv2', stages=(True, False))]
    before = copy.deepcopy(plugins)
    model = ResNet(18, base_channels=8, num_stages=2, plugins=plugins)
    assert plugins == before
    assert hasattr(model.layer1[0], 'hoga_1')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(depth=20), r'no ResNet of depth 20.*18, 34, 50, 101, 152'),
        (dict(depth=18, num_stages=5), r'num_stages must be 1 to 4, not 5'),
        (dict(depth=18, out_indices=(1, 4)), r'out_indices is \(1, 4\).*\(0, 1, 2, 3\)'),
        (dict(depth=18, num_stages=3, out_indices=(3,)), r'num_stages=3.*\(0, 1, 2\)'),
        (dict(depth=18, out_indices=(-1,)), r'out_indices'),
        (dict(depth=18, out_indices=()), r'out_indices'),
        (dict(depth=18, num_stages=3, strides=(1, 2, 2, 2)), r'strides has 4 entries.*num_stages is 3'),
        (dict(depth=18, dilations=(1, 1)), r'dilations has 2 entries.*num_stages is 4'),
        (dict(depth=18, frozen_stages=5), r'frozen_stages must be -1 \(none\) to 4'),
        (dict(depth=18, style='torch'), r"'pytorch' or 'caffe', not 'torch'"),
        (dict(depth=34, groups=32), r'groups=32.*Bottleneck'),
        (dict(depth=50, groups=32, width_per_group=4, base_width=8), r'width_per_group=4 and base_width=8'),
        (dict(depth=18, plugins=[dict(HOGA, position='after_conv3')]), r"'after_conv3'.*after_conv1, after_conv2\."),
        (dict(depth=50, plugins=[dict(HOGA, position='after_conv4')]), r'after_conv1, after_conv2, after_conv3\.'),
        (dict(depth=50, plugins=[dict(HOGA, stages=(True,) * 3)]), r"\['stages'\] has 3 entries.*has 4 stages"),
        (dict(depth=18, num_stages=3, plugins=[dict(HOGA, stages=(True,) * 4)]), r'4 entries.*3 stages'),
        (dict(depth=50, plugins=[HOGA, HOGA]), r"called 'hoga'.*postfix"),
        (dict(depth=18, base_channels=6, plugins=[HOGA]), r'in_channels = 6'),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**arguments)


@pytest.mark.parametrize('deep_stem', [False, True])
def test_frozen_stages_stay_frozen(deep_stem):
    model = ResNet(18, base_channels=8, deep_stem=deep_stem, frozen_stages=2, plugins=[HOGA])
    stem = model.stem if deep_stem else nn.ModuleList([model.conv1, model.bn1])
    for _ in range(2):  # when built, and after train()
        for part, frozen in ((stem, True), (model.layer1, True), (model.layer2, True), (model.layer3, False)):
            assert all(p.requires_grad is not frozen for p in part.parameters())
            assert all(m.training is not frozen for m in part.modules() if isinstance(m, nn.BatchNorm2d))
        assert model.train() is model


def test_frozen_stages_zero_freezes_only_the_stem():
    model = ResNet(18, base_channels=8, frozen_stages=0)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ['conv1.weight', 'bn1.weight', 'bn1.bias']


def test_norm_eval_keeps_statistics_but_trains_weights():
    model = ResNet(18, base_channels=8, norm_eval=True, plugins=[HOGA]).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(2, 3, 32, 32))[0].sum().backward()
    torch.testing.assert_close(dict(model.named_buffers()), before)
    assert model.layer1[0].bn1.weight.grad is not None
    assert model.layer1[0].hoga.training


def test_pretrained_weights_overrule_every_other_initialisation(tmp_path):
    source = ResNet(18, base_channels=8)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_()
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'weights.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    model = ResNet(18, base_channels=8, init_cfg=pretrained)
    model.init_weights()
    torch.testing.assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)
