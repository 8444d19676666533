"""``mmhoga search``: one command from a training config to a trained network."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from processes import in_two_processes

from mmhoga.cli import search
from mmhoga.cli.search import search_main
from mmhoga.cli.train import train_main
from mmhoga.genotype import Genotype
from mmhoga.hosts import build_model, load_config
from mmhoga.models import HOGA
from mmhoga.search import search_config

pytest.importorskip('mmpretrain')

TRAINING = """
default_scope = 'mmpretrain'
randomness = dict(seed=0)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[78.0], std=[96.0], to_rgb=False),
    backbone=dict(
        type='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=8,
        plugins=[dict(cfg=dict(type='mmhoga.HOGA', summary='inputs'), position='after_conv2')]),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))

def loader(split, shuffle, indices):
    dataset = dict(type='mmhoga.Digits', split=split, indices=indices, pipeline=[dict(type='PackInputs')])
    return dict(batch_size=16, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=shuffle))

train_dataloader, val_dataloader = loader('train', True, 64), loader('test', False, 20)
val_evaluator = dict(type='Accuracy')
train_cfg, val_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1), dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05))
custom_hooks = [dict(type='InterruptedHook')]
"""
CHOICES = ['--epochs', '2', '--num-groups', '2', '--primitives', 'skip_connect', 'se', '--alpha-lr', '0.1']


class InterruptedHook(Hook):
    """Ctrl-C after the first epoch of the loop that the file ``interrupt`` names, once."""

    priority = 'VERY_LOW'

    def after_train_epoch(self, runner):
        file = Path('interrupt')
        if file.exists() and file.read_text() == type(runner.train_loop).__name__:
            file.unlink()
            raise KeyboardInterrupt


@pytest.fixture
def folder(tmp_path, monkeypatch):
    HOOKS.register_module(module=InterruptedHook, force=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    Path('toy.py').write_text(TRAINING)
    yield tmp_path
    HOOKS.module_dict.pop('InterruptedHook')


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def rows(genotype):
    return [list(row) for row in Genotype.load(genotype).edges]


def test_one_command_and_what_it_writes(folder, capsys):
    assert search_main(['toy.py', *CHOICES, '--then', 'train']) == 0
    work_dir = folder / 'work_dirs/toy-search'
    found = rows(work_dir / 'genotype.json')
    assert [len(row) for row in found] == [1, 2] and {name for row in found for name in row} <= {'skip_connect', 'se'}

    # train.py is the training config, key by key, with the genotype.
    training, derived = load_config('toy.py').to_dict(), load_config(str(work_dir / 'train.py')).to_dict()
    cell = training['model']['backbone']['plugins'][0]['cfg']
    assert cell.pop('genotype', 'autola') == 'autola'
    cell['genotype'] = found
    assert derived == training

    report = capsys.readouterr().out.rpartition('Genotype after 2 epochs of search')[2]
    assert all(f'    {line}\n' in report for line in str(Genotype(found)).splitlines())
    assert re.search(r'edges, in all cells: [\d.]+ k parameters, [\d.]+ M MACs', report)
    assert re.search(r'accuracy/top1 [\d.]+ at the end of work_dirs/toy-search/train\.', report)

    # The same by the two configs that the command writes.
    assert search_main(['toy.py', *CHOICES, '--dump-config', 'search.py']) == 0
    assert 'mmhoga train search.py' in capsys.readouterr().out
    assert train_main(['search.py', '--work-dir', 's']) == 0
    assert_same_weights('s/epoch_2.pth', work_dir / 'epoch_2.pth')
    assert train_main([str(work_dir / 'train.py'), '--work-dir', 't']) == 0
    assert_same_weights('t/epoch_2.pth', work_dir / 'train/epoch_2.pth')

    # Without --resume nothing is overwritten; with it, nothing is done twice.
    before = {path: path.stat().st_mtime_ns for path in work_dir.rglob('*.pth')}
    assert search_main(['toy.py', *CHOICES]) == 2
    assert 'which a new search would overwrite' in capsys.readouterr().err
    assert search_main(['toy.py', *CHOICES, '--then', 'train', '--resume']) == 0
    assert {path: path.stat().st_mtime_ns for path in work_dir.rglob('*.pth')} == before


@pytest.mark.parametrize('loop', ['SearchLoop', 'EpochBasedTrainLoop'])
def test_resume_continues_the_stage_that_was_interrupted(folder, capsys, loop):
    command = ['toy.py', *CHOICES, '--then', 'train', '--work-dir', 'w']
    assert search_main([*command[:-1], 'whole']) == 0
    Path('interrupt').write_text(loop)
    assert search_main(command) == 130
    assert (folder / 'w/train.py').exists() == (loop != 'SearchLoop')
    capsys.readouterr()
    assert search_main([*command, '--resume']) == 0
    log = capsys.readouterr().err + ''.join(path.read_text() for path in folder.glob('w/**/*.log'))
    assert log.count('resumed epoch: 1') >= 1
    assert_same_weights('w/epoch_2.pth', 'whole/epoch_2.pth')
    assert rows('w/genotype.json') == rows('whole/genotype.json')
    assert (folder / 'w/train/epoch_2.pth').exists()


def test_one_alpha_per_stage(folder, capsys):
    """Then the training has one plugin per stage, each with its genotype."""
    assert search_main(['toy.py', *CHOICES, '--epochs', '1', '--alpha-per', 'stage', '--no-validate']) == 0
    command = 'mmhoga train work_dirs/toy-search/train.py --work-dir work_dirs/toy-search/train\n'
    assert command in capsys.readouterr().out
    plugins = load_config('work_dirs/toy-search/train.py').model.backbone.plugins
    assert [plugin.cfg.genotype for plugin in plugins] == [
        rows(f'work_dirs/toy-search/layer{number}/genotype.json') for number in (1, 2, 3)
    ]
    assert [tuple(plugin.stages) for plugin in plugins] == [
        tuple(number == stage for number in range(3)) for stage in range(3)
    ]


def test_a_placement(folder, capsys):
    """The training has an attention in the only block that keeps one."""
    assert search_main(['toy.py', *CHOICES, '--epochs', '1', '--placement', 'keep=1', '--no-validate']) == 0
    kept = Genotype.load('work_dirs/toy-search/genotype.json').meta['placement']['blocks']
    assert f'attention in 1 of {len(kept)} blocks' in capsys.readouterr().out
    network = MODELS.build(load_config('work_dirs/toy-search/train.py').model)
    cells = [name for name, module in network.named_modules() if isinstance(module, HOGA)]
    assert cells == [name for name, choice in kept.items() if choice['kept']]


OPTIONS = {
    'epochs': (['7'], 7),
    'num-groups': (['2'], 2),
    'primitives': (['se', 'cbam'], ['se', 'cbam']),
    'alpha-per': (['stage'], 'stage'),
    'cost': (
        ['metric=macs', 'weight=0.1', 'input_shape=[1,8,8]'],
        dict(metric='macs', weight=0.1, input_shape=[1, 8, 8]),
    ),
    'placement': (['num_groups=[2,4]', 'keep=3'], dict(num_groups=[2, 4], keep=3)),
    'fraction': (['0.6'], 0.6),
    'split-seed': (['3'], 3),
    'seed': (['4'], 4),
    'batch-size': (['8'], 8),
    'alpha-batch-size': (['4'], 4),
    'stage-pattern': ([r'layer\d'], r'layer\d'),
    'val-loss': ([], True),
    'lr': (['0.1'], 0.1),
    'min-lr': (['0'], 0.0),
    'momentum': (['0.5'], 0.5),
    'weight-decay': (['0'], 0.0),
    'clip-grad': (['0'], None),
    'alpha-lr': (['0.1'], 0.1),
    'alpha-betas': (['0.9', '0.99'], (0.9, 0.99)),
    'alpha-weight-decay': (['0'], 0.0),
    'order': (['2'], 2),
    'hessian': (['exact'], 'exact'),
    'unroll': (['joint'], 'joint'),
    'warmup-epochs': (['2'], 2),
    'temperature': (['10', '0.1'], dict(start=10.0, end=0.1)),
    'sampling': (['gumbel'], 'gumbel'),
    'selection': (['score', 'candidates=3'], dict(method='score', candidates=3)),
}


def dumped(*options):
    assert search_main(['toy.py', *options, '--dump-config', 'dumped.py']) == 0
    return Config.fromfile('dumped.py').to_dict()


def test_every_choice_is_an_option(folder):
    """The dumped config is that of the function; without options, that of its defaults."""
    assert {name.replace('-', '_') for name in OPTIONS} | {'optimizer'} == set(search_config.__kwdefaults__) - {'log'}
    arguments = [text for name, (texts, _) in OPTIONS.items() for text in (f'--{name}', *texts)]
    choices = {name.replace('-', '_'): value for name, (_, value) in OPTIONS.items()}
    training = load_config('toy.py')
    assert dumped(*arguments) == search_config(training, **choices).to_dict()
    assert dumped() == search_config(training).to_dict()
    assert dumped('--optimizer', 'training') == search_config(training, optimizer='training').to_dict()
    assert dumped('--placement')['model']['placement'] == {}
    assert dumped('--temperature', '2')['train_cfg']['temperature'] == 2.0
    text = Path('dumped.py').read_text()
    assert text.startswith('# Search in toy.py. Written by mmhoga search.\n# The learning rate of the weights is for')


@pytest.fixture
def plain(folder):
    Path('toy.py').write_text(re.sub(r',\n\s*plugins=.*\]\)', ')', TRAINING))
    return folder


def test_a_training_without_cells_is_refused_with_places(plain, capsys):
    assert search_main(['toy.py']) == 2
    error = capsys.readouterr().err
    assert '--plugins after_conv2 adds them to the blocks of its backbone' in error
    line = r"model = dict(backbone=dict(type='mmhoga.Insert', into='mmhoga.CIFARResNet', "
    line += r"cell=dict(type='mmhoga.HOGA'), after=r'layer\d'))"
    assert rf"--after 'backbone\.layer\d' inserts them after the stages of its backbone: {line}." in error
    assert 'mmhoga places toy.py lists all places.' in error


def test_cells_are_added_where_the_command_line_says(plain, capsys):
    backbone = dumped('--plugins', 'after_conv2')['model']['architecture']['backbone']
    assert backbone['plugins'] == [dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')]
    backbone = dumped('--after', r'backbone\.layer\d', '--start', 'random')['model']['architecture']['backbone']
    inserted = dict(type='mmhoga.Insert', into='mmhoga.CIFARResNet', cell=dict(type='mmhoga.HOGA'), after=r'layer\d')
    assert backbone == dict(inserted, start='random', depth=8, in_channels=1, base_channels=8)
    assert search_main(['toy.py', '--before', r'backbone\.stage\d']) == 2
    assert r"matches 'backbone\\.stage\\d' as a whole" in capsys.readouterr().err
    capsys.readouterr()

    choices = [*CHOICES, '--epochs', '1', '--no-validate', '--weights', 'supernet']
    assert search_main(['toy.py', '--after', r'backbone\.layer\d', *choices]) == 0
    training = load_config('work_dirs/toy-search/train.py')
    model = build_model(training)
    model.load_state_dict(weights(training.load_from))  # strict
    assert Path(training.load_from) == plain / 'work_dirs/toy-search/derived.pth'
    derived = training.model.backbone
    assert (derived.type, derived.into, derived.after) == ('mmhoga.Insert', 'mmhoga.CIFARResNet', r'layer\d')
    assert derived.cell.genotype == rows('work_dirs/toy-search/genotype.json')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--after', 'x'], 'toy.py has cells of mmhoga.HOGA already, which --after is not for'),
        (['--optimizer', 'training', '--lr', '0.1'], 'lr: set it in the training'),
        (['--then', 'train', '--auto-scale-lr'], 'has no auto_scale_lr'),  # before the search, not after it
        (['--cfg-options', 'model.type=mmhoga.SearchModel'], 'a search already'),
        (['--num-groups', '3', '--epochs', '1'], '3 does not divide in_channels = 8'),
    ],
)
def test_bad_input(folder, capsys, options, message):
    assert search_main(['toy.py', *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.rglob('*.pth'))


def test_two_processes(root, tmp_path):
    """Both stages run in one process group; one process writes the files between them."""
    text = TRAINING.replace("custom_hooks = [dict(type='InterruptedHook')]\n", '')
    (tmp_path / 'toy.py').write_text(text)
    options = ['--launcher', 'pytorch', *CHOICES, '--epochs', '1', '--then', 'train']
    command = ['-m', 'mmhoga', 'search', 'toy.py', *options]
    first, second = in_two_processes(*command, folder=tmp_path, PYTHONPATH=str(root))
    assert first.count('Genotype after 1 epochs of search') == 1 and 'Genotype after' not in second
    assert (tmp_path / 'work_dirs/toy-search/train/epoch_2.pth').exists()


@pytest.mark.parametrize('text', ['', '{', '[]', '{"epochs": []}', '{"format": "mmhoga.search_history", "version": 1}'])
def test_a_spoilt_history(tmp_path, text):
    """It does not say that the search has ended, so the search resumes and writes the file from its checkpoint."""
    (tmp_path / 'train.py').touch()
    (tmp_path / 'search_history.json').write_text(text)
    assert not search._is_done(tmp_path, 1)
