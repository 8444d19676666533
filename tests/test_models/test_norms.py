"""The norms of a cell: from norm_cfg, from its backbone, and converted ones."""

import copy

import pytest
import torch
from cells import randomize
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmhoga
from mmhoga.models import HOGA, Attention, SearchableHOGA
from mmhoga.models.norms import build_norm, inherited, norm_of

SYNC, GROUP = dict(type='SyncBN'), dict(type='GN', num_groups=8)
NORMS = (_BatchNorm, nn.GroupNorm, nn.InstanceNorm2d)
CELLS = {
    'autola': lambda **kwargs: HOGA(16, **kwargs),
    'hog_cbam': lambda **kwargs: HOGA(16, genotype='hog_cbam', **kwargs),
    'supernet': lambda **kwargs: SearchableHOGA(16, **kwargs),
}


def norms(module):
    return [m for m in module.modules() if isinstance(m, NORMS)]


def run(cell, x):
    x = x.clone().requires_grad_()
    y = cell(x)
    gradients = torch.autograd.grad((y * y.detach().cos()).sum(), [x, *cell.parameters()])
    return y, gradients, {name: b.clone() for name, b in cell.named_buffers() if 'running' in name}


@pytest.mark.parametrize('build', CELLS.values(), ids=CELLS)
def test_every_norm_is_that_of_norm_cfg(build):
    plain = build()
    assert {type(m).__name__ for m in norms(build(norm_cfg=SYNC))} == {'SyncBatchNorm'}
    assert {type(m).__name__ for m in norms(build(norm_cfg=GROUP))} == {'GroupNorm'}
    assert {type(m).__name__ for m in norms(build(norm_cfg=dict(type='IN')))} == {'InstanceNorm2d'}
    assert {type(m) for m in norms(build(norm_cfg=dict(type=nn.SyncBatchNorm)))} == {nn.SyncBatchNorm}
    slow = build(norm_cfg=dict(type='BN', momentum=0.01, eps=1e-3))
    assert {(type(m), m.momentum, m.eps) for m in norms(slow)} == {(type(norms(plain)[0]), 0.01, 1e-3)}
    frozen = build(norm_cfg=dict(SYNC, requires_grad=False))
    assert not any(p.requires_grad for m in norms(frozen) for p in m.parameters())
    # The keys stay, so that a checkpoint of one process loads in several.
    assert list(build(norm_cfg=SYNC).state_dict()) == list(plain.state_dict())
    assert len(norms(plain)) == len(norms(build(norm_cfg=GROUP)))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('build', CELLS.values(), ids=CELLS)
def test_synchronised_and_converted_norms_compute_the_same(build, training):
    """In one process, where torch's SyncBatchNorm also runs on a CPU. The conversions are torch's and mmengine's."""
    plain = randomize(build().double()).train(training)
    built = build(norm_cfg=SYNC).double().train(training)
    built.load_state_dict(plain.state_dict())
    twins = {
        'built': built,
        'torch': nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain)),
        'mmengine': convert_sync_batchnorm(copy.deepcopy(plain)).train(training),
        'reverted': revert_sync_batchnorm(copy.deepcopy(built)),
    }
    x = torch.randn(2, 16, 4, 3, dtype=torch.float64)
    plain(x)  # builds the form of the cell that a conversion must not leave in use
    assert {type(m).__name__ for m in norms(twins['torch'])} == {'SyncBatchNorm'}
    for twin in twins.values():
        twin.load_state_dict(plain.state_dict())
    expected = run(plain, x)
    for name, twin in twins.items():
        for actual, wanted in zip(run(twin, x), expected):
            torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-9, msg=name)


def test_a_synchronised_norm_runs_by_its_module_and_not_by_a_local_formula(monkeypatch):
    """Several processes need a GPU for SyncBatchNorm. So count that each one is called, whatever the path."""
    calls = []
    forward = nn.SyncBatchNorm.forward
    monkeypatch.setattr(nn.SyncBatchNorm, 'forward', lambda self, x: (calls.append(self), forward(self, x))[1])
    for build in CELLS.values():
        cell = nn.SyncBatchNorm.convert_sync_batchnorm(build())
        cell(torch.rand(2, 16, 4, 4))
        assert set(calls) == set(norms(cell))
        calls.clear()


@pytest.mark.parametrize('build', CELLS.values(), ids=CELLS)
def test_group_norm_equals_the_formula(build):
    """Each norm on what it gets; and the images of a batch do not change each other."""
    cell = randomize(build(norm_cfg=GROUP).double())
    seen = []
    for norm in norms(cell):
        norm.register_forward_hook(lambda norm, args, y: seen.append((norm, args[0].detach().clone(), y.detach())))
    x = torch.randn(2, 16, 5, 6, dtype=torch.float64)
    y = cell(x)
    assert len(seen) == len(norms(cell))
    for norm, inputs, y_norm in seen:
        groups = inputs.unflatten(1, (norm.num_groups, -1)).flatten(2)
        expected = (groups - groups.mean(2, True)) / (groups.var(2, correction=0, keepdim=True) + norm.eps).sqrt()
        expected = expected.view_as(inputs)
        if norm.affine:
            expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
        if y_norm.min() >= 0:  # an in-place ReLU follows
            expected = expected.relu()
        torch.testing.assert_close(y_norm, expected)
    torch.testing.assert_close(cell(x[:1]), y[:1])
    torch.testing.assert_close(cell.eval()(x), y)


def test_groups_are_per_edge_and_divide_the_width():
    assert [build_norm(GROUP, c).num_groups for c in (1, 2, 4, 12, 16, 64)] == [1, 2, 4, 4, 8, 8]
    stacked = build_norm(GROUP, 4, edges=3, affine=False)
    x = torch.randn(2, 12, 4, 4)
    single = build_norm(GROUP, 4, affine=False)
    torch.testing.assert_close(stacked(x), torch.cat([single(part) for part in x.chunk(3, 1)], 1))


def test_a_supernet_with_group_norms_equals_its_derived_cell():
    supernet = randomize(SearchableHOGA(16, norm_cfg=GROUP, primitives=('norm_3x3', 'cbam', 'se')).double())
    with torch.no_grad():
        supernet.alpha.zero_()[:, 1] = 1e9
    derived = supernet.derive()
    assert {type(m).__name__ for m in norms(derived)} == {'GroupNorm'}
    x = torch.randn(2, 16, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(derived(x), supernet(x))


def test_a_cell_with_group_norms_starts_as_the_identity_and_fuses():
    cell = HOGA(16, norm_cfg=GROUP, start='identity')
    x = torch.randn(2, 16, 5, 6)
    assert torch.equal(cell(x), x)
    cell = randomize(HOGA(16, norm_cfg=GROUP).double()).eval()
    expected = cell(x.double())
    torch.testing.assert_close(cell.fuse()(x.double()), expected)


@pytest.fixture
def plugin():
    return [dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')]


def kinds(network):
    """The norms of the cells."""
    cells = [m for m in network.modules() if hasattr(type(m), 'inherited_norms')]
    assert cells
    return {(type(m).__name__, getattr(m, 'num_groups', None)) for cell in cells for m in norms(cell)}


@pytest.mark.parametrize('norm_cfg', [SYNC, GROUP, dict(type='BN', requires_grad=False, eps=1e-3), None])
def test_cells_have_the_norm_of_their_backbone(norm_cfg, plugin, monkeypatch):
    lines = []
    monkeypatch.setattr('mmhoga.models.norms.print_log', lambda text, *_, **__: lines.append(text))
    backbones = pytest.importorskip('mmhoga.backbones')
    arguments = dict(norm_cfg=norm_cfg, plugins=plugin, base_channels=8)
    for build in (
        lambda: backbones.ResNet(18, **arguments),
        lambda: backbones.CIFARResNet(8, **arguments),
        lambda: backbones.CIFARPNASNet(
            norm_cfg=norm_cfg, base_channels=8, num_cells=1, plugins=[dict(plugin[0], position='after_cell')]
        ),
    ):
        network = build()
        names = {name for name, _ in kinds(network)}
        if norm_cfg in (SYNC, GROUP):
            assert names == {type(norms(network)[0]).__name__} != {'BatchNorm2d'}
            assert len(lines) == 1 and 'have its norm' in lines.pop()
        else:
            assert not lines
            assert names == {'NarrowBatchNorm2d'}
            # The settings of the backbone are for norms with trained weights.
            assert all(m.eps == 1e-5 and m.weight.requires_grad for m in norms(network.layer1[0].get_submodule('hoga')))


def test_a_norm_of_the_cell_comes_first(plugin):
    backbones = pytest.importorskip('mmhoga.backbones')
    plugin[0]['cfg']['norm_cfg'] = dict(type='BN')
    network = backbones.ResNet(18, norm_cfg=GROUP, base_channels=8, plugins=plugin)
    assert kinds(network) == {('NarrowBatchNorm2d', None)}
    network = mmhoga.insert(network, dict(type='mmhoga.HOGA', norm_cfg=SYNC), after='layer1')
    assert ('SyncBatchNorm', None) in kinds(network)


def test_attentions_of_timm_take_synchronised_norms_and_no_others(plugin):
    pytest.importorskip('timm')
    backbones = pytest.importorskip('mmhoga.backbones')
    plugin[0]['cfg'] = dict(type='mmhoga.Attention', name='cbam')
    arguments = dict(base_channels=8, plugins=plugin)
    assert kinds(backbones.ResNet(18, norm_cfg=SYNC, **arguments)) == {('SyncBatchNormAct', None)}
    assert kinds(backbones.ResNet(18, norm_cfg=GROUP, **arguments)) == {('BatchNormAct2d', None)}
    with pytest.raises(ValueError, match="'BN' or 'SyncBN', not 'GN'"):
        Attention(16, name='cbam', norm_cfg=GROUP)
    plain, twin = (Attention(16, name='sk', norm_cfg=norm_cfg).eval() for norm_cfg in (None, SYNC))
    twin.load_state_dict(plain.state_dict())
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(twin(x), plain(x))


def conv_net(norm):
    return nn.Sequential(nn.Conv2d(3, 16, 3), norm, nn.ReLU(), nn.Conv2d(16, 16, 3))


@pytest.mark.parametrize(
    ('norm', 'expected'),
    [
        (nn.BatchNorm2d(16), ('NarrowBatchNorm2d', None)),
        (nn.SyncBatchNorm(16), ('SyncBatchNorm', None)),
        (nn.GroupNorm(4, 16), ('GroupNorm', 4)),
        (nn.Identity(), ('NarrowBatchNorm2d', None)),
    ],
)
def test_inserted_cells_have_the_norm_of_the_network(norm, expected):
    network = mmhoga.insert(conv_net(norm), dict(type='mmhoga.HOGA'), after='3')
    found = kinds(network)
    assert {name for name, _ in found} == {expected[0]} and expected in found
    x = torch.rand(2, 3, 9, 9)
    plain = copy.deepcopy(network)
    plain[3] = plain[3].get_submodule('module')
    assert torch.equal(network.eval()(x), plain.eval()(x))


def test_what_is_inherited():
    assert inherited(dict(GROUP, requires_grad=False)) == GROUP
    assert inherited(dict(type='LN')) is inherited(None) is inherited(dict(type='BN', momentum=0.01)) is None
    mixed = nn.Sequential(nn.GroupNorm(4, 8), *(nn.LayerNorm(8) for _ in range(3)))
    assert norm_of(mixed) is None
    assert norm_of(mixed[:1]) == dict(type='GN', num_groups=4)
