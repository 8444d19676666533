"""``mmhoga insert``: the files that it writes, as somebody who has a trained network uses them."""

import re
import subprocess

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from small_configs import CLASSIFIER, DETECTOR, TWO_STAGE
from torch import nn
from warm_python import warm_python

import mmhoga
from mmhoga.cli.insert import insert_main
from mmhoga.hosts import build_model, load_config
from mmhoga.insertion import cells_of, save_adapter
from mmhoga.registry import MODELS

DIGITS = 'resnet8_1xb96-8e_digits'
PLAIN = CLASSIFIER.replace('PLUGINS', '').replace('INDICES', '4')
WITH_PLUGIN = CLASSIFIER.replace(
    'PLUGINS', "plugins=[dict(cfg=dict(type='mmhoga.HOGA', start='START'), position='after_conv2')]"
).replace('INDICES', '4')
PLAIN_DETECTOR = re.sub(r'norm_eval=False,\n.*\)\]\)', 'norm_eval=False)', DETECTOR)
PLAIN_TWO_STAGE = re.sub(r'\n *norm_eval=False, plugins=.*\)\]\)', '\n        norm_eval=False)', TWO_STAGE)
LAYERS = r'backbone\.layer\d'


def trained(config):
    """The network of a config with random weights and statistics, as after a training."""
    model = build_model(load_config(config)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def classifier(folder):
    """A config of a plain network, and its weights."""
    pytest.importorskip('mmpretrain')
    (folder / 'plain.py').write_text(PLAIN)
    model = trained('plain.py')
    torch.save(
        {'meta': {'dataset_meta': {'classes': ('a', 'b')}, 'seed': 3}, 'state_dict': model.state_dict()}, 'plain.pth'
    )
    return model


def insert(*arguments):
    return insert_main([str(argument) for argument in arguments])


def load(config, checkpoint):
    """The network of a config with all weights from a checkpoint."""
    model = build_model(load_config(config)).eval()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'], strict=True)
    return model


def mistake(capsys, *arguments):
    assert insert(*arguments) == 2
    captured = capsys.readouterr()
    error = captured.err.splitlines()[-1]
    assert error.startswith('error: ') and not captured.out
    return error


def test_the_written_network_computes_what_the_plain_one_computes(classifier, capsys):
    assert insert('plain.py', 'plain.pth', '--out', 'hoga.pth', '--after', LAYERS) == 0
    output = capsys.readouterr().out
    model = load('hoga.py', 'hoga.pth')
    assert sorted(cells_of(model)) == [f'backbone.layer{stage}.hoga' for stage in (1, 2, 3)]
    images = torch.randn(3, 1, 20, 28)
    with torch.no_grad():
        assert torch.equal(model(images, mode='tensor'), classifier(images, mode='tensor'))
    added = sum(p.numel() for cell in cells_of(model).values() for p in cell.parameters())
    plain = sum(p.numel() for p in classifier.parameters())
    keys = sum(not key.endswith('num_batches_tracked') for key in classifier.state_dict())
    assert f'plain.pth: all {keys} keys of the network matched.' in output
    assert f'3 cells (HOGA) add {added / 1e6:.3g} M parameters (+{100 * added / plain:.2f} %)' in output
    assert 'for 2 random images of 64 x 96: 0.' in output
    assert output.endswith('    mmhoga train hoga.py\n')
    assert torch.load('hoga.pth', weights_only=True)['meta'] == {'dataset_meta': {'classes': ('a', 'b')}}


def test_the_written_config_inherits(classifier, folder):
    assert insert('plain.py', 'plain.pth', '--out', 'hoga.pth', '--after', LAYERS, '--cell', 'se') == 0
    text = (folder / 'hoga.py').read_text()
    assert "_base_ = 'plain.py'" in text and 'LinearClsHead' not in text
    (folder / 'elsewhere').mkdir()
    assert insert('plain.py', 'plain.pth', '--out', 'elsewhere/se.pth', '--before', LAYERS, '--cell', 'se') == 0
    assert "_base_ = '../plain.py'" in (folder / 'elsewhere' / 'se.py').read_text()
    cfg = load_config('elsewhere/se.py')
    assert cfg.load_from == str(folder / 'elsewhere' / 'se.pth')
    assert "before=r'layer\\d'" in (folder / 'elsewhere' / 'se.py').read_text()
    model = load('elsewhere/se.py', 'elsewhere/se.pth')
    assert all(module.before for module in model.backbone.children() if type(module).__name__ == 'Inserted')
    assert sorted(path.name for path in folder.iterdir()) == [
        'elsewhere',
        'hoga.pth',
        'hoga.py',
        'plain.pth',
        'plain.py',
    ]


def test_with_options_the_whole_config_is_written(classifier, folder):
    torch.save(trained_with_depth_14().state_dict(), 'deep.pth')
    options = ('--cfg-options', 'model.backbone.depth=14')
    assert insert('plain.py', 'deep.pth', '--out', 'deep-hoga.pth', '--after', LAYERS, *options) == 0
    assert '_base_' not in (folder / 'deep-hoga.py').read_text()
    assert len(load('deep-hoga.py', 'deep-hoga.pth').backbone.layer1) == 2
    assert load_config('deep-hoga.py').load_from == str(folder / 'deep-hoga.pth')


def trained_with_depth_14():
    return build_model(load_config('plain.py', {'model.backbone.depth': 14}))


def test_a_shipped_config_is_trained_as_it_was_written(folder, capsys):
    """As a stranger: an empty folder, the command that is printed, and the log of the training."""
    pytest.importorskip('mmpretrain')
    pytest.importorskip('sklearn')
    torch.save(trained(DIGITS).state_dict(), 'plain.pth')

    arguments = ('--after', r'backbone\.layer\d\.0\.conv2', '--data', '--images', '3')
    assert insert(DIGITS, 'plain.pth', '--out', 'hoga.pth', *arguments) == 0
    output = capsys.readouterr().out
    assert 'for 3 images of the data (Digits): 0.' in output
    command = [warm_python(), '-W', 'ignore', '-m', *output.splitlines()[-1].split()]
    command += ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=288']
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    log = finished.stdout
    assert re.search(r'HOGA weights: all \d+ keys of 3 cells matched', log)
    assert 'Load checkpoint from' in log and 'hoga.pth' in log
    state = torch.load('work_dirs/hoga/epoch_1.pth', weights_only=False)['state_dict']
    start = torch.load('hoga.pth', weights_only=True)['state_dict']
    assert state.keys() == start.keys()
    learned = {key for key in start if not torch.equal(start[key], state[key])}
    assert {key for key, value in start.items() if '.hoga.' in key and value.is_floating_point()} <= learned


@pytest.mark.parametrize(
    ('prefix', 'form'), [('', 'plain'), ('backbone.', 'safetensors'), ('module.backbone.', 'model')]
)
def test_a_checkpoint_of_the_backbone_alone(classifier, folder, capsys, prefix, form):
    """The head is not in the file, so it is not written, and stays as the training initialises it."""
    weights = {f'{prefix}{key}': value for key, value in classifier.backbone.state_dict().items()}
    weights['fc.weight'] = torch.zeros(2, 2)
    path = 'backbone.safetensors' if form == 'safetensors' else 'backbone.pth'
    if form == 'safetensors':
        pytest.importorskip('safetensors.torch').save_file(weights, path)
    else:
        torch.save({'model': weights} if form == 'model' else weights, path)
    assert insert('plain.py', path, '--out', 'hoga.pth', '--after', LAYERS) == 0
    assert 'not in the file: 2 of head; not used: 1 of the file, such as fc.weight.' in capsys.readouterr().out
    state = torch.load('hoga.pth', weights_only=True)['state_dict']
    model = build_model(load_config('hoga.py'))
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert sorted(missing) == ['head.fc.bias', 'head.fc.weight']
    assert all(torch.equal(state[f'backbone.{key}'], value) for key, value in classifier.backbone.state_dict().items())


def test_a_config_with_the_plugin(classifier, folder, capsys):
    (folder / 'plugin.py').write_text(WITH_PLUGIN.replace('START', 'identity'))
    assert insert('plugin.py', 'plain.pth', '--out', 'hoga.pth') == 0
    assert 'mmhoga train plugin.py --cfg-options load_from=hoga.pth' in capsys.readouterr().out
    assert not (folder / 'hoga.py').exists()
    images = torch.randn(2, 1, 20, 28)
    with torch.no_grad():
        assert torch.equal(load('plugin.py', 'hoga.pth')(images, mode='tensor'), classifier(images, mode='tensor'))


def test_a_config_that_inserts(classifier, folder):
    assert insert('plain.py', 'plain.pth', '--out', 'first.pth', '--after', LAYERS) == 0
    assert insert('first.py', 'plain.pth', '--out', 'second.pth') == 0
    first, second = (torch.load(f'{name}.pth', weights_only=True)['state_dict'] for name in ('first', 'second'))
    assert first.keys() == second.keys()
    plain = classifier.state_dict()
    assert all(torch.equal(second[key], value) for key, value in plain.items())


@pytest.mark.parametrize(('name', 'head'), [('retinanet', 'bbox_head'), ('faster', 'roi_head')])
def test_a_detector_from_a_backbone(folder, capsys, name, head):
    """The whole detector is compared, the second stage included."""
    pytest.importorskip('mmdet')
    (folder / 'plain.py').write_text({'retinanet': PLAIN_DETECTOR, 'faster': PLAIN_TWO_STAGE}[name])
    torch.save(trained('plain.py').backbone.state_dict(), 'backbone.pth')
    assert insert('plain.py', 'backbone.pth', '--out', 'hoga.pth', '--after', LAYERS, '--images', '1') == 0
    output = capsys.readouterr().out
    assert re.search(rf'not in the file: .*\d+ of {head}', output) and 'for 1 random images' in output
    model = build_model(load_config('hoga.py'))
    missing = model.load_state_dict(torch.load('hoga.pth', weights_only=True)['state_dict'], strict=False).missing_keys
    assert missing and not any(key.startswith('backbone.') for key in missing)


def test_a_backbone_that_is_in_the_checkpoint_is_not_downloaded(classifier, folder):
    pretrained = "init_cfg=dict(type='Pretrained', checkpoint='https://example.invalid/x.pth')"
    (folder / 'plain.py').write_text(PLAIN.replace('base_channels=8,', f'base_channels=8, {pretrained},'))
    assert insert('plain.py', 'plain.pth', '--out', 'hoga.pth', '--after', LAYERS) == 0
    assert load_config('hoga.py').model.backbone.init_cfg is None
    build_model(load_config('hoga.py')).init_weights()


def test_the_checkpoint_that_the_config_names(classifier, folder, capsys):
    assert 'plain.py names no checkpoint' in mistake(capsys, 'plain.py', '--out', 'x.pth', '--after', LAYERS)
    (folder / 'plain.py').write_text(f"{PLAIN}\nload_from = 'plain.pth'\n")
    assert insert('plain.py', '--out', 'hoga.pth', '--after', LAYERS) == 0
    assert load_config('hoga.py').load_from == str(folder / 'hoga.pth')


def test_widths_that_k_does_not_divide(folder, capsys):
    pytest.importorskip('mmpretrain')
    (folder / 'plain.py').write_text(PLAIN.replace('_channels=8', '_channels=6').replace('=32)', '=24)'))
    torch.save(trained('plain.py').state_dict(), 'plain.pth')
    arguments = ('plain.py', 'plain.pth', '--out', 'hoga.pth', '--after', LAYERS)
    assert 'layer1 (6)' in mistake(capsys, *arguments)
    assert insert(*arguments, '--skip-indivisible') == 0
    assert list(cells_of(load('hoga.py', 'hoga.pth'))) == ['backbone.layer2.hoga', 'backbone.layer3.hoga']


def test_trained_cells_are_not_overwritten(classifier, folder, capsys):
    assert insert('plain.py', 'plain.pth', '--out', 'hoga.pth', '--after', LAYERS) == 0
    content = (folder / 'hoga.pth').read_bytes()
    capsys.readouterr()
    again = mistake(capsys, 'plain.py', 'hoga.pth', '--out', 'again.pth', '--after', LAYERS)
    assert 'hoga.pth has weights for the attention already' in again and 'load_from=hoga.pth' in again
    other = mistake(capsys, 'plain.py', 'hoga.pth', '--out', 'again.pth', '--after', r'backbone\.layer1\.0\.conv1')
    assert 'was trained with attention at other places' in other and 'backbone.layer1.hoga.' in other
    twice = mistake(capsys, 'hoga.py', 'plain.pth', '--out', 'again.pth', '--after', r'backbone\.conv1')
    assert 'hoga.py inserts an attention already' in twice
    itself = mistake(capsys, 'plain.py', 'plain.pth', '--out', 'plain.pth', '--after', LAYERS)
    assert '--out plain.pth is the checkpoint itself' in itself
    (folder / 'plain2.pth').write_bytes((folder / 'plain.pth').read_bytes())
    assert 'plain.py, the config beside --out, exists already' in mistake(
        capsys, 'plain.py', 'plain2.pth', '--out', 'plain.pth', '--after', LAYERS
    )
    assert (folder / 'hoga.pth').read_bytes() == content
    assert {path.name for path in folder.iterdir()} == {'hoga.pth', 'hoga.py', 'plain.pth', 'plain.py', 'plain2.pth'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['plain.pth'], 'has no attention of mmhoga. Choose where it goes: --after PATTERN'),
        (['plain.pth', '--after', 'layer1'], "has a name that matches 'layer1' as a whole. Similar names: backbone."),
        (['plain.pth', '--after', r'head\.fc'], 'head.fc (Linear) does not run in a forward pass'.replace('head.', '')),
        (['none.pth', '--after', LAYERS], 'there is no checkpoint none.pth'),
        (['plain.py', '--after', LAYERS], 'plain.py cannot be read as a checkpoint'),
        (['empty.pth', '--after', LAYERS], 'empty.pth has no weights'),
        (['other.pth', '--after', LAYERS], 'other.pth is of another network: only 0 of 45 keys of the backbone'),
        (['plain.pth', '--after', LAYERS, '--shape', '2', '3', '4'], '--shape takes height and width'),
        (['plain.pth', '--after', LAYERS, '--cell', 'sse'], '--cell sse: '),
        (['plain.pth', '--after', LAYERS, '--genotype', 'no.json'], '--genotype: '),
    ],
)
def test_mistakes_are_one_paragraph_and_write_nothing(classifier, folder, capsys, arguments, message):
    torch.save({'epoch': 3}, 'empty.pth')
    torch.save({'0.weight': torch.zeros(3)}, 'other.pth')
    before = sorted(folder.iterdir())
    assert message in mistake(capsys, 'plain.py', *arguments, '--out', 'x.pth')
    assert sorted(folder.iterdir()) == before


def test_a_config_with_cells_takes_no_other_cell(classifier, folder, capsys):
    (folder / 'plugin.py').write_text(WITH_PLUGIN.replace('START', 'random'))
    assert "3 of 3 cells (HOGA) would start at random. Set start='identity'" in mistake(
        capsys, 'plugin.py', 'plain.pth', '--out', 'x.pth'
    )
    assert 'plugin.py sets the attention' in mistake(capsys, 'plugin.py', 'plain.pth', '--out', 'x.pth', '--cell', 'se')


@pytest.fixture
def doubling():
    """An attention that claims to start as the identity and does not."""

    @MODELS.register_module(name='Doubling')
    class Doubling(nn.Module):
        def __init__(self, in_channels, start='identity'):
            super().__init__()
            self.scale = nn.Parameter(torch.full((in_channels, 1, 1), 2.0))

        def is_identity(self):
            return True

        def forward(self, x):
            return self.scale * x

    yield
    MODELS._module_dict.pop('Doubling')


def test_a_network_that_changes_is_not_written(classifier, folder, capsys, doubling):
    inserted = "type='mmhoga.Insert', into='mmhoga.CIFARResNet', cell=dict(type='mmhoga.Doubling'), after='layer3'"
    (folder / 'changes.py').write_text(f"_base_ = 'plain.py'\nmodel = dict(backbone=dict({inserted}))\n")
    assert 'the outputs with attention differ' in mistake(capsys, 'changes.py', 'plain.pth', '--out', 'x.pth')
    assert not (folder / 'x.pth').exists()
    # An output that is no number is no proof either.
    classifier.head.fc.bias.data.fill_(float('nan'))
    torch.save(classifier.state_dict(), 'nan.pth')
    assert 'differ' in mistake(capsys, 'plain.py', 'nan.pth', '--out', 'x.pth', '--after', LAYERS)


def test_the_config_of_a_host(folder, capsys):
    """mmdet's own config is inherited by its name, and the file can be read by mmengine in any folder."""
    pytest.importorskip('mmdet')
    name = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
    torch.save({'state_dict': build_model(load_config(name)).state_dict()}, 'rtmdet.pth')
    assert insert(name, 'rtmdet.pth', '--out', 'hoga.pth', '--after', r'backbone\.stage\d', '--images', '1') == 0
    assert f'_base_ = {name!r}' in (folder / 'hoga.py').read_text()
    assert len(cells_of(load('hoga.py', 'hoga.pth'))) == 4
    genotype = mmhoga.Genotype.from_config('autola')
    assert all(cell.genotype.edges == genotype.edges for cell in cells_of(load('hoga.py', 'hoga.pth')).values())


def test_norms_estimated_on_training_data(classifier, folder, capsys):
    """The statistics of the first norm of a cell are the mean and the variance of what it receives."""
    pytest.importorskip('sklearn')
    loader = "dict(batch_size=32, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))"
    (folder / 'plain.py').write_text(PLAIN.replace('indices=4', 'indices=96') + f'train_dataloader = {loader}\n')
    arguments = ('plain.py', 'plain.pth', '--after', LAYERS)
    assert insert(*arguments, '--out', 'one.pth', '--norm-batches', 1) == 0
    assert 'batch norms were estimated on 1 batches of the training data.' in capsys.readouterr().out
    assert insert(*arguments, '--out', 'all.pth', '--norm-batches', 9) == 0
    output = capsys.readouterr().out
    assert 'estimated on 3 batches' in output and 'images of 64 x 96: 0.' in output

    model = load('one.py', 'one.pth')
    norm = next(m for m in cells_of(model)['backbone.layer1.hoga'].modules() if isinstance(m, nn.BatchNorm2d))
    received = []
    norm.register_forward_hook(lambda module, inputs, output: received.append(inputs[0]))
    with torch.no_grad(), DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = load_config('plain.py').train_dataloader | {'collate_fn': dict(type='default_collate')}
        data = next(iter(Runner.build_dataloader(loader)))
        model(**model.data_preprocessor(data, False), mode='tensor')
    # Norms before it have normalised with the biased variance of 2048 numbers, and keep the unbiased one.
    assert torch.allclose(norm.running_mean, received[0].mean((0, 2, 3)), atol=1e-3)
    assert torch.allclose(norm.running_var, received[0].var((0, 2, 3)), rtol=2e-3)
    other = load('all.py', 'all.pth').state_dict()
    same = {key for key, value in model.state_dict().items() if torch.equal(value, other[key])}
    assert set(classifier.state_dict()) <= same and len(same) < len(other)


def test_an_adapter_is_merged(classifier, folder, capsys):
    assert insert('plain.py', 'plain.pth', '--out', 'start.pth', '--after', LAYERS) == 0
    model = load('start.py', 'start.pth')
    for cell in cells_of(model).values():
        for parameter in cell.parameters():
            nn.init.normal_(parameter)
    save_adapter(model, 'cells.safetensors')
    capsys.readouterr()
    arguments = ('plain.py', 'plain.pth', '--out', 'whole.pth', '--after', LAYERS)
    assert insert(*arguments, '--adapter', 'cells.safetensors') == 0
    output = capsys.readouterr().out
    assert 'the adapter cells.safetensors was loaded' in output
    assert output.endswith('    mmhoga test whole.py whole.pth\n')
    images = torch.randn(2, 1, 20, 28)
    with torch.no_grad():
        expected, plain = model(images, mode='tensor'), classifier(images, mode='tensor')
        assert torch.equal(load('whole.py', 'whole.pth')(images, mode='tensor'), expected)
        assert not torch.equal(expected, plain)
    classifier.head.fc.bias.data += 1
    torch.save(classifier.state_dict(), 'plain.pth')
    arguments = ('plain.py', 'plain.pth', '--out', 'other.pth', '--after', LAYERS, '--adapter')
    assert 'trained over another base' in mistake(capsys, *arguments, 'cells.safetensors')
    assert 'none.safetensors' in mistake(capsys, *arguments, 'none.safetensors')
    assert not (folder / 'other.pth').exists() and not (folder / 'other.py').exists()


def test_norms_need_training_data(classifier, capsys):
    arguments = ('plain.py', 'plain.pth', '--out', 'x.pth', '--after', LAYERS, '--norm-batches', 2)
    assert 'plain.py has no train_dataloader' in mistake(capsys, *arguments)
