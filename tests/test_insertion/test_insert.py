"""Insertion into small networks of plain torch: the identity, the keys, copies, and what is refused."""

import copy
import pickle

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from torch import nn

import mmhoga
from mmhoga.insertion import PlaceError, cells_of, find_places, train_only
from mmhoga.models import HOGA
from mmhoga.registry import MODELS

CELL = dict(type='mmhoga.HOGA', genotype='autola')


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + self.norm(self.conv(x)).relu()


def small_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2), Residual(32), nn.Conv2d(32, 64, 1), Residual(64)).eval()
    for norm in (network[1].norm, network[3].norm):
        nn.init.normal_(norm.running_mean)
    return network


@pytest.fixture
def network():
    return small_network()


@pytest.fixture
def images():
    return torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    'where', [dict(after=r'\d\.conv'), dict(before=r'\d\.norm'), dict(after='1|3'), dict(after='2')]
)
def test_the_network_computes_what_it_computed_before(network, images, where):
    expected = network(images)
    keys = list(network.state_dict())
    assert mmhoga.insert(network, CELL, **where) is network
    assert torch.equal(network(images), expected)
    cells = tuple(f'{name}.' for name in cells_of(network))
    assert [key for key in network.state_dict() if not key.startswith(cells)] == keys


def test_after_and_before_are_different_places(network, images):
    """With a cell that adds 1, the order of cell and module shows in the numbers."""

    class AddOne(nn.Module):
        def forward(self, x):
            return x + 1

    conv = copy.deepcopy(network[2])
    inputs = network[:2](images)
    after = mmhoga.insert(copy.deepcopy(network), lambda channels: AddOne(), after='2', start='random')
    assert torch.equal(after[2](inputs), conv(inputs) + 1)
    before = mmhoga.insert(copy.deepcopy(network), lambda channels: AddOne(), before='2', start='random')
    assert torch.equal(before[2](inputs), conv(inputs + 1))


def test_every_parameter_of_a_cell_learns(network, images):
    mmhoga.insert(network, CELL, after=r'\d\.conv').train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    steps = []
    for _ in range(2):
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()
        steps.append({name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()})
    names = {name for name, _ in network.named_parameters() if '.hoga.' in name}
    ends = ('phi.4.weight', 'phi.4.bias', 'output_attention.excite.weight')
    assert {name for name in steps[0] if '.hoga.' in name} == {name for name in names if name.endswith(ends)}
    # The SE on the summary has one hidden unit here, which can be off for all images.
    assert [name for name in sorted(names - steps[1]) if 'summary_attention' not in name] == []


def test_a_plain_checkpoint_loads_and_a_full_one_strictly(network, images):
    plain = small_network().state_dict()
    mmhoga.insert(network, CELL, after=r'\d\.conv')
    incompatible = network.load_state_dict(plain, strict=False)
    assert not incompatible.unexpected_keys
    assert all(key.startswith(('1.conv.hoga.', '3.conv.hoga.')) for key in incompatible.missing_keys)
    other = mmhoga.insert(small_network(), CELL, after=r'\d\.conv')
    nn.init.normal_(other[1].conv.hoga.phi[-1].weight)
    network.load_state_dict(other.state_dict(), strict=True)
    assert torch.equal(network(images), other(images))


def test_a_misfit_is_reported_by_the_names_of_the_plain_network(network):
    mmhoga.insert(network, CELL, after=r'\d\.conv')
    state = network.state_dict()
    del state['1.conv.weight']
    with pytest.raises(RuntimeError, match=r'Missing key.*"1.conv.weight"'):
        network.load_state_dict(state)


def test_the_versions_in_a_state_dict_are_those_of_the_plain_network(network):
    plain = small_network().state_dict()._metadata
    mmhoga.insert(network, CELL, after='1|1.norm')
    ours = network.state_dict()._metadata
    assert {name: ours[name] for name in plain} == plain


def test_nested_places_and_two_cells_at_one(network, images):
    expected, plain = network(images), small_network().state_dict()
    mmhoga.insert(network, CELL, after=r'1|1\.conv|1\.norm')
    mmhoga.insert(network, dict(type='mmhoga.HOGA', genotype='hog_se'), after=r'1|1\.conv')
    names = ['1.conv.hoga', '1.conv.hoga_2', '1.hoga', '1.hoga_2', '1.norm.hoga']
    assert sorted(cells_of(network)) == names
    assert torch.equal(network(images), expected)
    network.load_state_dict({**network.state_dict(), **plain}, strict=True)
    assert set(plain) < set(network.state_dict())


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies(network, images, copied):
    mmhoga.insert(network, CELL, after='1')
    nn.init.normal_(network[1].hoga.phi[-1].weight)
    other = copied(network)
    assert torch.equal(other(images), network(images))
    other.train()
    assert other[1].training and not network.training


def test_an_inserted_module_is_used_like_the_module(network):
    mmhoga.insert(network, CELL, after='1')
    assert network[1].conv.in_channels == 32
    assert network.get_submodule('1.conv') is network[1].conv
    assert isinstance(network[1].hoga, HOGA)
    blocks = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), nn.Conv2d(8, 8, 1))
    mmhoga.insert(blocks, CELL, after='0')
    assert len(blocks[0]) == 2
    assert [type(layer) for layer in blocks[0]] == [nn.Conv2d, nn.ReLU]
    assert isinstance(blocks[0][1], nn.ReLU)
    with pytest.raises(AttributeError, match='no attribute'):
        network[1].absent  # noqa: B018


def test_norm_eval_and_frozen_stages_do_not_apply_to_cells(images):
    class Backbone(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            for module in self[1].modules():
                module.training = False
            self[1].requires_grad_(False)
            return self

    network = Backbone(*small_network())
    mmhoga.insert(network, CELL, after=r'\d\.conv').train()
    cells = cells_of(network)
    assert all(module.training for cell in cells.values() for module in cell.modules())
    assert all(parameter.requires_grad for cell in cells.values() for parameter in cell.parameters())
    assert not network[1].norm.training
    assert not network[1].conv.weight.requires_grad
    assert not any(module.training for module in network.eval().modules())


def test_cells_have_the_mode_of_the_network(network, images):
    """Otherwise a forward pass in eval mode moves their statistics."""
    mmhoga.insert(network, CELL, after='1|3')
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(images)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert mmhoga.insert(small_network().train(), CELL, after='1')[1].hoga.training


def test_train_only(network, images):
    mmhoga.insert(network, CELL, after=r'\d\.conv')
    train_only(network, ['cells', '2']).train()
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    cells = {f'{name}.{key}' for name, cell in cells_of(network).items() for key, _ in cell.named_parameters()}
    assert names == cells | {'2.weight', '2.bias'}
    before = network[1].norm.running_mean.clone()
    network(images)
    assert torch.equal(network[1].norm.running_mean, before)
    train_only(network, 'norms').train()
    assert network[1].norm.weight.requires_grad
    network(images)
    assert not torch.equal(network[1].norm.running_mean, before)


@pytest.mark.parametrize('with_cells', [False, True])
def test_a_network_that_initialises_its_modules_and_then_loads_a_checkpoint(images, tmp_path, monkeypatch, with_cells):
    """As mmengine does with a network of timm, whose own init_weights also draws the layers of a cell that are 0."""

    class Inner(nn.Sequential):
        def init_weights(self):
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight)

    class Outer(BaseModule):
        def __init__(self, checkpoint):
            super().__init__(dict(type='Pretrained', checkpoint=str(checkpoint)))
            self.inner = Inner(*small_network())

        def forward(self, x):
            return self.inner(x)

    source = Outer('').eval()
    if with_cells:
        mmhoga.insert(source, CELL, after=r'inner\.1\.conv')
        nn.init.ones_(source.inner[1].conv.hoga.phi[-1].weight)
    torch.save(source.state_dict(), tmp_path / 'source.pth')
    network = mmhoga.insert(Outer(tmp_path / 'source.pth').eval(), CELL, after=r'inner\.\d\.conv')
    messages = []
    monkeypatch.setattr('mmhoga.models.loading.print_log', lambda text, **_: messages.append(text))
    network.init_weights()
    assert torch.equal(network(images), source(images))
    assert ('1 of 2 cells' if with_cells else '2 of 2 cells are not in the checkpoint') in messages[-1]


def test_a_network_that_rearranges_pixels_to_channels():
    """The first convolution of YOLOX takes 12 channels of an image of 3."""
    network = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 8, 1))
    assert [(place.name, place.channels) for place in find_places(network)] == [('0', 12), ('1', 8)]


def test_batch_norms_stay_frozen_when_they_are_converted(network, images):
    mmhoga.insert(network, CELL, after=r'1\.norm')
    network = nn.SyncBatchNorm.convert_sync_batchnorm(train_only(network, 'cells')).train()
    assert [network[1].norm.module.training, network[3].norm.training] == [False, False]
    assert isinstance(network[3].norm, nn.SyncBatchNorm)
    assert all(module.training for module in network[1].norm.hoga.modules())


@pytest.mark.parametrize('training', [True, False])
def test_the_cells_start_in_the_mode_of_the_network(network, training):
    network.train(training)[1].eval()  # a stage that its backbone freezes
    mmhoga.insert(network, CELL, after=r'\d\.conv')
    assert {module.training for cell in cells_of(network).values() for module in cell.modules()} == {training}


def test_what_the_module_has_is_set_on_the_module(network, images):
    weight = nn.Parameter(torch.zeros(32, 32, 3, 3))
    mmhoga.insert(network, CELL, after=r'1|1\.conv')
    network[1].conv.weight = weight
    assert network[1].conv.module.weight is weight
    assert 'weight' not in network[1].conv._parameters
    network[1].conv.stride = (2, 2)
    assert network[1].conv.module.stride == (2, 2)
    network[1].norm = nn.Identity()
    assert isinstance(network[1].module.norm, nn.Identity)
    network[1].label = 'a name that the module does not have'
    assert 'label' not in vars(network[1].module)


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ('1.con', 'No module of Sequential has a name that matches.*Similar names: .*1.conv'),
        ('1.conv(', 'not a regular expression'),
    ],
)
def test_a_pattern_that_matches_nothing(network, pattern, message):
    with pytest.raises(PlaceError, match=message):
        mmhoga.insert(network, CELL, after=pattern)


def test_a_width_that_k_does_not_divide(images):
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 8, 1), nn.Conv2d(8, 1, 1))
    with pytest.raises(PlaceError, match=r'width of 0 \(3\), 2 \(1\).*does not divide.*skip_indivisible=True'):
        mmhoga.insert(network, CELL, after=r'\d')
    assert not cells_of(network)
    mmhoga.insert(network, CELL, after=r'\d', skip_indivisible=True)
    assert list(cells_of(network)) == ['1.hoga']
    with pytest.raises(PlaceError, match='does not divide'):
        mmhoga.insert(network, CELL, after='2', skip_indivisible=True)


def test_modules_that_are_no_place():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never, self.pair = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), Pair()
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, x):
            x = self.twice(self.twice(x))
            return self.pool(sum(self.pair(x))).flatten(1)

    class Pair(nn.Module):
        def forward(self, x):
            return x, x + 1

    problems = {place.name: place.problem for place in find_places(Odd())}
    assert problems == {
        'twice': 'runs 2 times in a forward pass',
        'never': 'does not run in a forward pass',
        'pair': 'returns a tuple of 2, not a feature map',
        'pool': 'returns a tensor of shape (1, 3, 1, 1), not a feature map',
    }
    with pytest.raises(PlaceError, match=r'2 of the 2 modules.*twice \(Conv2d\) runs 2 times.*never'):
        mmhoga.insert(Odd(), CELL, after='twice|never')


def test_a_shared_module_is_replaced_under_all_its_names(images):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 1)
            self.second = self.first

        def forward(self, x):
            return self.second(x)

    network = mmhoga.insert(Shared(), CELL, after='first')
    assert network.first is network.second
    nn.init.ones_(network.first.hoga.phi[-1].bias)
    assert not torch.equal(network(images), network.first.module(images))


@pytest.mark.parametrize('fixed', [torch.jit.script, lambda network: torch.jit.trace(network, torch.rand(1, 3, 8, 8))])
def test_a_scripted_or_traced_network_is_refused(fixed):
    with pytest.raises(PlaceError, match='Insert first'):
        mmhoga.insert(fixed(nn.Sequential(nn.Conv2d(3, 8, 1))), CELL, after='0')


def test_a_compiled_network_is_refused(network):
    with pytest.raises(PlaceError, match='then compile it'):
        mmhoga.insert(torch.compile(network), CELL, after='1')


def test_after_or_before_but_not_both(network):
    for where in ({}, dict(after='1', before='1')):
        with pytest.raises(PlaceError, match='either after= or before='):
            mmhoga.insert(network, CELL, **where)


def test_a_config_with_an_image_size_and_grey_images():
    """The trial run has the channels that the network takes."""
    config = dict(type='mmhoga.Insert', into='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=8)
    network = MODELS.build(dict(config, cell=CELL, after=r'layer\d\.0', image_size=(8, 8)))
    assert list(cells_of(network)) == ['layer1.0.hoga', 'layer2.0.hoga', 'layer3.0.hoga']


def test_a_type_without_a_prefix_in_the_scope_of_a_host(network):
    """A run of a host leaves its scope as the default."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        mmhoga.insert(network, dict(type='HOGA'), after='1')
    assert isinstance(network[1].hoga, HOGA)
