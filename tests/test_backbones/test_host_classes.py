"""Each ResNet of a host, its type replaced by ``mmhoga.ResNet``: the same network, or an error that says what to do."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from host_networks import HOSTS, NARROW, assert_same, randomize

from mmhoga.backbones import ResNet
from mmhoga.host_resnets import EQUIVALENTS, FOREIGN_ARGUMENTS
from mmhoga.hosts import LaunchError, load_config

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'use_in_your_project.md'

# What a config of the class sets, apart from its width. RegNet has its own.
SETTINGS = {
    'Res2Net': dict(depth=50, scales=4, base_width=26),
    'RegNet': dict(arch='regnetx_400mf', stem_channels=8),
    'TridentResNet': dict(depth=50, num_branch=3, test_branch_idx=1, trident_dilations=(1, 2, 3), num_stages=3,
                          strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,)),
    'DetectoRS_ResNet': dict(depth=50, sac=dict(type='SAC'), stage_with_sac=(False, True, True, True)),
    'DetectoRS_ResNeXt': dict(depth=50, rfp_inplanes=8),
    'ViPNAS_ResNet': dict(depth=50),
    'CSPResNet': dict(depth=50), 'CSPResNeXt': dict(depth=50),
    'SparseResNet': dict(depth=50, drop_path_rate=0.05, norm_cfg=dict(type='BN')),
}  # fmt: skip
OWN_WIDTH = ('RegNet', 'ViPNAS_ResNet', 'CSPResNet', 'CSPResNeXt')
CLASSES = [(host, name) for host, classes in EQUIVALENTS.items() for name in classes]


def settings_of(name):
    width = {} if name in OWN_WIDTH else dict(NARROW)
    return {**width, **SETTINGS.get(name, dict(depth=50))}


def test_the_table_lists_every_resnet_of_the_hosts():
    for host, module in HOSTS.items():
        theirs = {name for name in vars(module) if 'ResNe' in name or name in ('RegNet', 'Res2Net', 'SCNet')}
        assert set(EQUIVALENTS[host]) == theirs - {'HRNet'}
    assert len(CLASSES) == 31


def test_the_page_has_the_table():
    text = PAGE.read_text(encoding='utf-8').partition('| class | host |')[2].partition('\n\n')[0]
    rows = [line.strip('|').split('|') for line in text.splitlines()[2:]]
    for host, name in CLASSES:
        (added,) = (add for classes, hosts, add in rows if f'`{name}`' in classes and (host in hosts or 'all' in hosts))
        wanted = EQUIVALENTS[host][name]
        if wanted is None:
            assert 'mmhoga.Insert' in added
        else:
            assert added.strip(' `') == (', '.join(f'{k}={v}' for k, v in wanted.items()) or 'nothing')


@pytest.mark.parametrize(('host', 'name'), CLASSES)
def test_a_replaced_class_is_the_same_network_or_an_error(host, name):
    settings, wanted = settings_of(name), EQUIVALENTS[host][name]
    if name == 'DetectoRS_ResNet':  # its convolutions are compiled; its keys without them are those of a ResNet
        with pytest.raises(ValueError, match=r"sac is an argument of DetectoRS_ResNet.*into='DetectoRS_ResNet'"):
            ResNet(**settings)
        return
    theirs = getattr(HOSTS[host], name)(**settings)
    if wanted is not None:
        assert_same(ResNet(**settings, **wanted), theirs, same_keys=name in ('ResNet', 'ResNeXt') or host == 'mmdet')
        if name == 'ResNet':
            return
    try:
        ours = ResNet(**settings)
    except ValueError as error:  # an argument that only the class has
        assert wanted is None
        assert f"into='{name}'" in str(error) or name == 'DetectoRS_ResNeXt'
        return
    except TypeError as error:
        assert 'depth' in str(error) and 'depth' not in settings
        return
    if (wanted and not set(wanted) - {'out_indices', 'norm_eval'}) or name == 'SparseResNet':
        return  # only defaults differ, or only what masks do: the checkpoint is one of this network
    with pytest.raises(ValueError, match='The checkpoint is not one of this ResNet') as error:
        ours.load_state_dict(theirs.state_dict(), strict=False)
    remedies = {'ResNeXt': 'groups=32, width_per_group=4', 'ResNetV1c': 'deep_stem=True', 'ResNetV1d': 'deep_stem=True'}
    if wanted is not None:
        assert remedies[name] in str(error.value)
    elif name not in OWN_WIDTH:
        assert "type='mmhoga.Insert'" in str(error.value) and name.removesuffix('Xt') in str(error.value) + 'SEResNet'


def error_of(network, state):
    with pytest.raises(ValueError, match='The checkpoint is not one of this') as error:
        network.load_state_dict(state, strict=False)
    return str(error.value)


def test_other_checkpoints_are_refused_with_the_setting():
    def state(depth=50, **kwargs):
        return ResNet(depth, **NARROW, **kwargs).state_dict()

    network = ResNet(50, **NARROW)
    assert 'avg_down=True' in error_of(network, state(avg_down=True))
    assert 'avg_down=False' in error_of(ResNet(50, **NARROW, avg_down=True), state())
    assert 'deep_stem=False' in error_of(ResNet(50, **NARROW, deep_stem=True), state())
    assert 'groups=2, width_per_group=4' in error_of(network, state(groups=2, width_per_group=4))
    assert 'layer1.0.conv1.weight has the shapes (8, 8, 3, 3) and (8, 8, 1, 1)' in error_of(network, state(18))
    assert 'layer2 has 8 blocks, and that of the network has 4' in error_of(network, state(152))
    assert 'None of its 2 keys' in error_of(network, {'encoder.a': torch.zeros(1), 'encoder.b': torch.zeros(1)})
    prefixed = {f'backbone.{key}': value for key, value in state(avg_down=True).items()}
    model = torch.nn.ModuleDict(dict(backbone=network))
    assert 'avg_down=True' in error_of(model, {**prefixed, 'head.weight': torch.zeros(1)})


def test_partial_checkpoints_of_the_same_network_load():
    network = ResNet(50, **NARROW, in_channels=1)
    state = ResNet(50, **NARROW).state_dict()
    grey = {key: value.sum(1, keepdim=True) if key == 'conv1.weight' else value for key, value in state.items()}
    network.load_state_dict(grey)
    three_stages = ResNet(50, **NARROW, num_stages=3)
    assert all(key.startswith('layer4') for key in three_stages.load_state_dict(state, strict=False).unexpected_keys)
    plugin = dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')
    with_cells = ResNet(50, **NARROW, plugins=[plugin])
    assert all('.hoga.' in key for key in with_cells.load_state_dict(state, strict=False).missing_keys)
    assert all('.hoga.' in key for key in network.load_state_dict(
        {k: v for k, v in with_cells.state_dict().items() if k != 'conv1.weight'}, strict=False
    ).unexpected_keys)  # fmt: skip
    network.load_state_dict({'fc.weight': torch.zeros(1), **grey}, strict=False)
    torch.nn.ModuleDict(dict(backbone=network)).load_state_dict({'head.weight': torch.zeros(1)}, strict=False)


@pytest.mark.parametrize('host', ['mmpretrain', 'mmpose'])
def test_the_keys_of_a_deep_stem_are_renamed_also_in_mmengine(host):
    from mmengine.runner import load_state_dict

    arguments = dict(depth=50, **NARROW, out_indices=(0, 3))
    theirs = randomize(HOSTS[host].ResNetV1d(**arguments))
    theirs.eval()
    model = torch.nn.Sequential(ResNet(**arguments, deep_stem=True, avg_down=True)).eval()
    state = {f'0.{key}': value for key, value in theirs.state_dict().items()}
    before = copy.copy(state)
    load_state_dict(model, state, strict=True)
    assert list(state) == list(before)
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model(x), theirs(x))


def test_stochastic_depth_equals_that_of_mmpretrain():
    arguments = dict(depth=50, **NARROW, drop_path_rate=0.5)
    ours, theirs = ResNet(**arguments).double(), HOSTS['mmpretrain'].ResNet(**arguments).double()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    results = []
    for network in (ours, theirs):
        network.train()
        torch.manual_seed(1)
        results.append(network(x)[-1])
    # The rates of the blocks differ by 2e-8.
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_dcn_is_mmdets():
    cfg = dict(type='mmhoga.AugmentedConv2d', feat_size=16, num_heads=1)
    arguments = dict(depth=50, **NARROW, dcn=cfg, stage_with_dcn=(False, False, True, False), out_indices=(3,))
    assert_same(ResNet(**arguments), HOSTS['mmdet'].ResNet(norm_eval=False, **arguments))
    unset = ResNet(50, **NARROW, dcn=None, stage_with_dcn=(False,) * 4)
    assert list(unset.state_dict()) == list(ResNet(50, **NARROW).state_dict())
    for settings, message in (
        (dict(depth=18, dcn=cfg), 'dcn needs Bottleneck'),
        (dict(dcn=cfg, stage_conv_cfgs=[None] * 4), 'names of one argument'),
        (dict(dcn=dict(cfg, fallback_on_stride=True)), 'no fallback_on_stride'),
        (dict(dcn=cfg, stage_with_dcn=(True,)), 'stage_conv_cfgs has 1 entries'),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet(**{'depth': 50, **NARROW, **settings})


@pytest.mark.parametrize('name', [*FOREIGN_ARGUMENTS, 'expansion', 'contract_dilation', 'pretrained', 'nothing'])
def test_arguments_of_other_networks_are_refused(name):
    with pytest.raises(TypeError if name == 'nothing' else ValueError, match=rf'\b{name}\b'):
        ResNet(50, **{name: 2})
    if name != 'nothing':
        ResNet(50, **NARROW, num_stages=1, **{name: None})


@pytest.mark.parametrize('rate', [-0.1, 1.5, float('nan'), True, '0.1', None])
def test_a_wrong_drop_path_rate(rate):
    with pytest.raises(ValueError, match='drop_path_rate must be a number from 0 to 1'):
        ResNet(50, **NARROW, drop_path_rate=rate)


CONFIG = """
_base_ = './base.py'
model = dict(backbone=dict({}type='mmhoga.ResNet'{}))
"""


@pytest.mark.parametrize(
    ('base', 'settings', 'problem'),
    [
        ("'ResNet', depth=50", '', None),
        ("'ResNeXt', depth=50", '', 'ResNeXt, which has groups=32, width_per_group=4 by default'),
        ("'ResNeXt', depth=50", ', groups=32, width_per_group=4', None),
        ("'ResNeXt', depth=50, groups=32, width_per_group=8", '', None),
        ("'mmpretrain.ResNetV1d', depth=50", ', avg_down=True', 'ResNetV1d, which has deep_stem=True by default'),
        ("'ResNetV1c', depth=50", ', deep_stem=False', None),
        ("'SEResNet', depth=50", '', "into='SEResNet'"),
        ("'ViT'", '', None),
        ("'mmdet.ResNet', depth=50, out_indices=(0, 1, 2, 3)", '', 'norm_eval=True by default'),
    ],
)
def test_a_config_that_replaces_the_type_is_checked(tmp_path, base, settings, problem):
    (tmp_path / 'base.py').write_text(
        f"default_scope = 'mmpretrain'\nmodel = dict(type='ImageClassifier', backbone=dict(type={base}))\n"
    )
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format('', settings))
    if problem is None:
        load_config(str(path))
    else:
        with pytest.raises(LaunchError, match=r'model\.backbone has .* in place of') as error:
            load_config(str(path))
        assert problem in str(error.value)
    path.write_text(CONFIG.format('_delete_=True, ', ', depth=18'))
    load_config(str(path))
