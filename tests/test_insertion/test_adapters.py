"""Adapters: exact over their base, refused over another, and every file that is not whole."""

import json
from collections import OrderedDict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_insertion.test_insert import CELL, Residual, small_network
from torch import nn

import mmhoga
from mmhoga.insertion import AdapterError, cells_of, insert, load_adapter, save_adapter, train_only
from mmhoga.insertion.adapter_files import fingerprints
from mmhoga.models import HOGA, Attention
from mmhoga.models.supernet import share_alpha

ATTENTION = dict(type='mmhoga.Attention', name='cbam')
GATHER = dict(name='ge', extra_params=True, extent=0, use_mlp=False, feat_size=(9, 14))
SUPERNET = dict(type='mmhoga.SearchableHOGA', num_groups=2)


@pytest.fixture
def images():
    return torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'adapter.safetensors'


def randomised(network):
    """Other weights and statistics in the cells, as after a training."""
    for cell in cells_of(network).values():
        for tensor in cell.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.5)
    return network


def trained(cell=CELL, **where):
    return randomised(insert(small_network(), cell, **(where or dict(after=r'\d\.conv'))))


def rewrite(path, change):
    """The file with other metadata; ``change`` gets them as a dict of strings, and the tensors."""
    tensors = load_file(path)
    with safe_open(path, 'pt') as file:
        metadata = dict(file.metadata())
    change(metadata, tensors)
    save_file(tensors, path, metadata)


def change_cell(**values):
    def change(metadata, tensors):
        cells = json.loads(metadata['cells'])
        for key, value in values.items():
            target = cells[0]['config'] if key in cells[0]['config'] else cells[0]
            target[key] = value
        metadata['cells'] = json.dumps(cells)

    return change


def state_of(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def assert_unchanged(network, before):
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    ('cell', 'where'),
    [
        (CELL, dict(after=r'\d\.conv')),
        (dict(CELL, start='random', summary='inputs', summary_reduction=4), dict(before=r'\d\.norm')),
        (dict(CELL, genotype=[['se'], ['none', 'cbam']]), dict(after='0|1|1.conv')),
        (dict(type='HOGA', operation_reduction=2), dict(after='3')),
        (SUPERNET, dict(after='1|3')),
        (ATTENTION, dict(after='1|3')),
        (dict(type='mmhoga.Attention', name='se', rd_ratio=0.5, gate_layer='hard_sigmoid'), dict(after='1')),
        (dict(type='mmhoga.Attention', **GATHER), dict(after='1')),
    ],
)
def test_outputs_are_equal_over_a_fresh_base(path, images, cell, where):
    network = trained(cell, **where)
    save_adapter(network, path)
    plain = small_network()
    state = torch.get_rng_state()
    load_adapter(plain, path)
    assert torch.equal(torch.get_rng_state(), state), 'loading draws no random numbers'
    assert torch.equal(plain(images), network(images))
    assert not torch.equal(plain(images), small_network()(images))
    assert plain(images).isfinite().all()
    assert list(plain.state_dict()) == list(network.state_dict())
    with_cells = insert(small_network(), cell, **where)
    assert load_adapter(with_cells, path) is with_cells
    assert torch.equal(with_cells(images), network(images))


def test_a_loaded_network_trains_and_is_saved_again(path, images):
    save_adapter(trained(), path)
    network = load_adapter(small_network(), path)
    assert all(not cell.training for cell in cells_of(network).values())
    train_only(network).train()
    assert all(cell.training for cell in cells_of(network).values())
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()
    save_adapter(network, path)
    expected = network.eval()(images)
    assert torch.equal(load_adapter(small_network(), path)(images), expected)


def test_two_cells_at_one_module_and_nested_ones(path, images):
    network = trained(after=r'1|1\.conv')
    insert(network, dict(CELL, genotype='hog_se'), after=r'1|1\.conv')
    randomised(network)
    save_adapter(network, path)
    plain = load_adapter(small_network(), path)
    assert list(cells_of(plain)) == list(cells_of(network))
    assert torch.equal(plain(images), network(images))


def test_more_cells_than_in_the_file(path, images):
    """The cells of the network that are not in the file belong to its base."""
    save_adapter(trained(), path)
    network = trained(after='1')
    with pytest.raises(AdapterError, match=r'\d+ tensors of the network were not in that base, the first is 1.hoga'):
        load_adapter(network, path)
    load_adapter(network, path, check_base=False)
    assert len(cells_of(network)) == 3


def test_a_module_under_two_names(path, images):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 8, 1)
            self.second = self.first

        def forward(self, x):
            return self.second(x)

    network = randomised(insert(Shared(), CELL, after='first')).eval()
    save_adapter(network, path)
    assert torch.equal(load_adapter(Shared().eval(), path)(images), network(images))
    load_adapter(insert(Shared(), CELL, after='first'), path)


def test_what_train_only_trained_is_in_the_file(path, images):
    network = train_only(trained(), ['cells', 'norms', r'2'])
    with torch.no_grad():
        network[2].weight.mul_(2)
        network[1].norm.weight.mul_(3)
    network.train()(images)
    network.eval()
    save_adapter(network, path)
    names = {name for name in load_file(path) if '.hoga.' not in name}
    ends = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    assert names == {'2.weight', '2.bias', *(f'{i}.norm.{end}' for i in (1, 3) for end in ends)}
    assert torch.equal(load_adapter(small_network(), path)(images), network(images))


def test_a_network_that_was_trained_whole_is_another_base(path):
    network = trained()
    save_adapter(network, path)
    assert all('.hoga.' in name for name in load_file(path))
    with torch.no_grad():
        network[2].bias += 1
    save_adapter(network, path)
    with pytest.raises(AdapterError, match=r'1 of the 14 tensors of the base differ, the first is 2\.bias'):
        load_adapter(small_network(), path)


def test_shared_alpha(path, images):
    network = trained(SUPERNET, after='1|3')
    share_alpha(network)
    save_adapter(network, path)
    assert torch.equal(load_adapter(small_network(), path)(images), network(images))


def test_other_values_than_those_of_the_network(path, images):
    network = trained()
    averaged = {key: value / 2 if '.hoga.' in key else value for key, value in network.state_dict().items()}
    save_adapter(network, path, state_dict=averaged)
    network.load_state_dict(averaged)
    assert torch.equal(load_adapter(small_network(), path)(images), network(images))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_other_data_types(path, images, dtype):
    network = trained().to(dtype)
    save_adapter(network, path)
    assert torch.equal(load_adapter(small_network().to(dtype), path)(images.to(dtype)), network(images.to(dtype)))
    with pytest.raises(AdapterError, match='other values, another shape or type'):
        load_adapter(small_network(), path)


def test_the_genotype_is_in_the_file_and_not_its_path(path, tmp_path, images):
    genotype = tmp_path / 'genotype.json'
    mmhoga.Genotype([['se'], ['cbam', 'norm_3x3']]).save(genotype)
    network = trained(dict(CELL, genotype=str(genotype)))
    save_adapter(network, path)
    genotype.unlink()
    assert str(tmp_path) not in path.read_bytes().decode('latin-1')
    assert torch.equal(load_adapter(small_network(), path)(images), network(images))


@pytest.mark.parametrize('changed', ['0.weight', '3.norm.running_var'])
def test_another_base_is_refused_with_the_reason(path, images, changed):
    save_adapter(trained(), path)
    for network in (small_network(), insert(small_network(), CELL, after=r'\d\.conv')):
        tensor = network.state_dict()[changed].view(-1)
        tensor[-1] = torch.nextafter(tensor[-1], torch.tensor(2.0))
        before = state_of(network)
        with pytest.raises(AdapterError, match=f'1 of the 14 tensors of the base differ, the first is {changed}'):
            load_adapter(network, path)
        assert_unchanged(network, before)
        load_adapter(network, path, check_base=False)
        assert network(images).isfinite().all()


def test_num_batches_tracked_does_not_matter(path):
    save_adapter(trained(), path)
    network = small_network()
    network[1].norm.num_batches_tracked += 5
    load_adapter(network, path)


def test_the_adapter_of_a_backbone_is_not_that_of_a_model(path):
    save_adapter(trained(), path)
    model = nn.ModuleDict(dict(backbone=small_network(), head=nn.Linear(2, 2)))
    with pytest.raises(AdapterError, match=r"module 'backbone' of this network: call load_adapter\(network.backbone"):
        load_adapter(model, path)
    load_adapter(model.backbone, path)
    save_adapter(model, path)
    with pytest.raises(AdapterError, match="network that has this one as its module 'backbone'"):
        load_adapter(small_network(), path)


def test_a_base_that_was_trained_whole_is_no_part_of_another(path):
    """All tensors differ, and a module of the network has names like those of the whole."""

    def nested():
        torch.manual_seed(0)
        return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 1), block=Residual(8)))

    save_adapter(insert(nested(), CELL, after='block'), path)
    network = nested()
    for tensor in network.state_dict().values():
        tensor += 1
    with pytest.raises(AdapterError, match='7 of the 7 tensors of the base differ'):
        load_adapter(network, path)


def test_fingerprints():
    """Each part of a tensor counts, and the order of the state dict does not."""
    one = {'a': torch.zeros(2, 3), 'b': torch.ones(2)}
    others = [
        {'a': torch.zeros(3, 2), 'b': one['b']},
        {'a': one['a'].int(), 'b': one['b']},
        {'c': one['a'], 'b': one['b']},
        {'a': one['a'], 'b': torch.tensor([1.0, 2.0])},
        {'a': one['a']},
        {**one, 'c': torch.zeros(0)},
    ]
    assert len({fingerprints(state, state)[1] for state in (one, *others)}) == 7
    assert fingerprints(one, ['b', 'a'])[1] == fingerprints(one, ['a', 'b'])[1]
    strided = {'a': torch.zeros(3, 2).t(), 'b': torch.ones(4)[::2]}
    assert fingerprints(strided, strided) == fingerprints(one, one)


@pytest.mark.parametrize(
    ('cell', 'message'),
    [
        (dict(CELL, genotype=[['se'], ['se', 'se']]), r'genotype is K = 4, \[.*there and K = 2'),
        (dict(CELL, start='random'), "start is 'identity' there and 'random' here"),
        (dict(CELL, summary='inputs'), "summary is 'nodes' there and 'inputs' here"),
        (dict(CELL, operation_reduction=2), 'operation_reduction is 4 there and 2 here'),
        (SUPERNET, "type is 'mmhoga.HOGA' there and 'mmhoga.SearchableHOGA' here"),
        (lambda channels: HOGA(channels, start='random'), "start is 'identity' there and 'random' here"),
        (lambda channels: HOGA(channels, start='identity', operation_reduction=2), 'does not fit the cell.*shape'),
    ],
)
def test_another_cell_in_the_network_is_refused(path, cell, message):
    save_adapter(trained(after='1'), path)
    network = insert(small_network(), cell, after='1', start='random' if callable(cell) else 'identity')
    before = state_of(network)
    with pytest.raises(AdapterError, match=message):
        load_adapter(network, path)
    assert_unchanged(network, before)


class Own(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)


@pytest.mark.parametrize(
    'cell', [Own, lambda channels: HOGA(channels, start='identity'), lambda channels: Attention(channels, name='se')]
)
def test_a_cell_of_a_function_loads_into_a_network_that_has_it(path, images, cell):
    network = trained(cell, after='1')
    save_adapter(network, path)
    with pytest.raises(AdapterError, match=r'a cell at 1 \(.*\) that cannot be built from the file'):
        load_adapter(small_network(), path)
    other = load_adapter(insert(small_network(), cell, after='1'), path)
    assert torch.equal(other(images), network(images))


def test_arguments_that_are_no_plain_data(path, images):
    cell = dict(type='mmhoga.Attention', name='se', act_layer=nn.SiLU)
    network = trained(cell, after='1')
    save_adapter(network, path)
    with pytest.raises(AdapterError, match='cannot be built from the file'):
        load_adapter(small_network(), path)
    assert torch.equal(load_adapter(insert(small_network(), cell, after='1'), path)(images), network(images))


def test_an_attention_that_cannot_be_built_from_json(path, monkeypatch):
    network = trained(ATTENTION, after='1')
    monkeypatch.setattr(Attention, '__init__', full_disk)
    save_adapter(network, path)
    monkeypatch.undo()
    with pytest.raises(AdapterError, match='cannot be built from the file'):
        load_adapter(small_network(), path)


def test_a_cell_that_was_changed_after_it_was_built(path):
    network = trained(after='1')
    network[1].hoga.phi[1] = nn.Identity()
    save_adapter(network, path)
    with pytest.raises(AdapterError, match='cannot be built from the file'):
        load_adapter(small_network(), path)


def test_a_network_without_the_module(path):
    save_adapter(trained(), path)
    with pytest.raises(AdapterError, match=r'no module with that name\. Similar names: .*1.convolution'):
        network = small_network()
        network[1].convolution = network[1].conv
        del network[1].conv
        load_adapter(network, path, check_base=False)
    narrow = nn.Sequential(nn.Conv2d(3, 16, 3), Residual(16), nn.Conv2d(16, 64, 1), Residual(64))
    load_adapter(narrow, path, check_base=False)  # the widths are those of the cells, which the network does not show
    assert len(cells_of(narrow)) == 2
    with pytest.raises(AdapterError, match='has no inserted cell to save'):
        save_adapter(small_network(), path)


def no_adapter(path):
    save_file({'a': torch.zeros(1)}, path)


BAD_FILES = {
    'a checkpoint': (lambda path: torch.save({'a': torch.zeros(9)}, path), 'not a whole safetensors file'),
    'empty': (lambda path: path.write_bytes(b''), 'not a whole safetensors file'),
    'truncated': (lambda path: path.write_bytes(path.read_bytes()[:-100]), 'not a whole safetensors file'),
    'truncated in its header': (lambda path: path.write_bytes(path.read_bytes()[:200]), 'not a whole safetensors file'),
    'other safetensors': (no_adapter, "no adapter: the format in its metadata is None, not 'mmhoga.adapter'"),
    'another version': (lambda path: rewrite(path, lambda m, t: m.update(version='2')), "version '2' of the adapter"),
    'no cells': (lambda path: rewrite(path, lambda m, t: m.pop('cells')), r"metadata of .* are damaged .*'cells'"),
    'no JSON': (lambda path: rewrite(path, lambda m, t: m.update(base='{')), 'damaged'),
    'deep JSON': (lambda path: rewrite(path, lambda m, t: m.update(meta='[' * 100000)), 'damaged'),
    'a field of another type': (lambda path: rewrite(path, change_cell(before=1)), 'damaged .*before of a cell is 1'),
    'another layout': (lambda path: rewrite(path, change_cell(layout='CHW')), "damaged .*layout 'CHW'"),
    'one cell twice': (lambda path: rewrite(path, change_cell(name='1.conv.hoga')), 'damaged .*the same name'),
    'missing keys': (
        lambda path: rewrite(path, lambda m, t: t.pop('1.conv.hoga.phi.0.weight')),
        'does not fit the cell 1.conv.hoga: the file lacks phi.0.weight',
    ),
    'another tensor': (
        lambda path: rewrite(path, lambda m, t: t.update({'5.weight': torch.zeros(1)})),
        'does not fit Sequential: the file has 5.weight, which the network does not have',
    ),
    'another shape': (
        lambda path: rewrite(path, lambda m, t: t.update({'1.conv.hoga.phi.1.bias': torch.zeros(1)})),
        r'phi.1.bias has shape \(1,\) in the file and \(32,\) in the network',
    ),
    'NaN': (
        lambda path: rewrite(path, lambda m, t: t['1.conv.hoga.phi.1.bias'].fill_(torch.nan)),
        '1 tensors have NaN or infinite values, the first is 1.conv.hoga.phi.1.bias',
    ),
    'another type': (lambda path: rewrite(path, change_cell(type='torch.nn.Conv2d')), r'3.conv \(torch.nn.Conv2d\)'),
    'a path as genotype': (lambda path: rewrite(path, change_cell(genotype='/a.json')), "genotype is '/a.json'"),
    'another K': (lambda path: rewrite(path, change_cell(genotype=[['se'], ['se', 'se']])), 'does not fit the cell'),
    'K that does not divide': (lambda path: rewrite(path, change_cell(in_channels=63)), '4 does not divide'),
    'a width of 0': (lambda path: rewrite(path, change_cell(operation_reduction=0)), 'cannot be built'),
    'a reserved name': (lambda path: rewrite(path, change_cell(name='3.conv.module')), "names a cell 'module'"),
}


@pytest.mark.parametrize('kind', BAD_FILES)
def test_a_bad_file_changes_nothing(path, kind):
    damage, message = BAD_FILES[kind]
    save_adapter(trained(), path)
    damage(path)
    network = small_network()
    before = state_of(network)
    with pytest.raises(AdapterError, match=message) as error:
        load_adapter(network, path, check_base=kind not in ('another tensor', 'missing keys'))
    assert '\n' not in str(error.value)
    assert_unchanged(network, before)


@pytest.mark.parametrize(
    ('cell', 'change', 'message'),
    [
        (CELL, dict(init_cfg={}), "an argument 'init_cfg'"),
        (ATTENTION, dict(init_cfg={}), "an argument 'init_cfg'"),
        (ATTENTION, dict(name='layers'), "name is 'layers'"),
        (ATTENTION, dict(extent=3), 'cannot be built'),
    ],
)
def test_arguments_are_checked_before_a_cell_is_built(path, cell, change, message):
    def add(metadata, tensors):
        cells = json.loads(metadata['cells'])
        cells[0]['config'].update(change)
        metadata['cells'] = json.dumps(cells)

    save_adapter(trained(cell, after='1'), path)
    rewrite(path, add)
    with pytest.raises(AdapterError, match=message):
        load_adapter(small_network(), path)


def test_there_is_no_such_file(path):
    path.write_bytes(b'')
    with pytest.raises(FileNotFoundError, match=r'No adapter file at .*Did you mean .*adapter\.safetensors'):
        load_adapter(small_network(), path.with_name('adaptor.safetensors'))


@pytest.mark.parametrize(
    ('break_it', 'error'),
    [
        (lambda monkeypatch, network: monkeypatch.setattr('os.fsync', full_disk), OSError),
        (lambda monkeypatch, network: nn.init.constant_(network[1].conv.hoga.phi[1].bias, torch.nan), AdapterError),
    ],
)
def test_an_adapter_is_written_whole_or_not_at_all(path, monkeypatch, break_it, error):
    network = trained()
    save_adapter(network, path)
    before = path.read_bytes()
    break_it(monkeypatch, network)
    with pytest.raises(error):
        save_adapter(network, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def full_disk(*_):
    raise OSError(28, 'No space left on device')


def test_meta(path):
    save_adapter(trained(), path, dict(epoch=3))
    with safe_open(path, 'pt') as file:
        assert json.loads(file.metadata()['meta']) == {'epoch': 3}
    with pytest.raises(AdapterError, match='meta must be plain data for JSON'):
        save_adapter(trained(), path, dict(network=nn.Identity()))
