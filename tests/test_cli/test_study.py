"""``mmhoga study``: arguments, configs of trials, costs, pruning, and scores of a supernet."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import optuna
import pytest
from fake_logs import write_run
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from toy_search import ToyClassifier

from mmhoga.cli import study as command
from mmhoga.cli.run.jobs import Job
from mmhoga.cli.run.trial_configs import shorten
from mmhoga.cli.study import study_main
from mmhoga.genotype import BUILTIN, Genotype, uniform
from mmhoga.hosts import LaunchError, load_config
from mmhoga.models.complexity import count
from mmhoga.search.costs import operation_complexity
from mmhoga.search.model import SearchModel
from mmhoga.studies.supernet import SupernetObjective

ROOT = Path(__file__).resolve().parent.parent.parent
TRAIN = str(ROOT / 'configs/digits/hoga-resnet8_1xb96-8e_digits.py')
SEARCH = str(ROOT / 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py')
SVG = '{http://www.w3.org/2000/svg}'


def network(genotype):
    cfg = load_config(TRAIN)
    cfg.model.backbone.plugins[0].cfg.genotype = genotype
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg.model)


def test_the_front_of_named_genotypes(tmp_path, fake, capsys):
    """Accuracies 50, 57, 54 by the fake. The cost is that of the network with the genotype."""
    fronts = ['--cost', 'macs', '--shape', '8', '--genotypes', 'hog_cbam', 'hog_se', 'autola']
    folder = tmp_path / 'fronts, drawn'
    assert study_main([TRAIN, '--work-dir', str(folder), '--trials', '3', '--sampler', 'nsga2', *fronts]) == 0
    rows = {row['trial']: row for row in json.loads((folder / 'ranking.json').read_text())['trials']}
    genotypes = [BUILTIN[name] for name in ('hog_cbam', 'hog_se', 'autola')]
    for number, genotype in enumerate(genotypes):
        assert Genotype(rows[number]['genotype']) == genotype
        assert rows[number]['macs'] == count(network(genotype), (1, 8, 8)).macs
        cell = Config.fromfile(folder / f'trial_{number:03d}/config.py').model.backbone.plugins[0].cfg
        assert Genotype(cell.genotype) == genotype == Genotype.load(folder / f'trial_{number:03d}/genotype.json')
    assert rows[1]['macs'] < rows[2]['macs'] < rows[0]['macs']
    assert [rows[number]['front'] for number in range(3)] == [False, True, False], 'hog_se is best in both'
    out = capsys.readouterr().out
    assert '3 of 3 trials are done' in out and f'The Pareto front: {folder / "pareto.svg"}' in out
    texts = [''.join(node.itertext()) for node in ElementTree.parse(folder / 'pareto.svg').iter(f'{SVG}text')]
    assert 'trained (2)' in texts and 'trained, on the Pareto front (1)' in texts and 'MACs' in texts


def test_a_larger_study_continues_a_smaller_one(tmp_path, fake):
    started, _ = fake
    arguments = [TRAIN, '--work-dir', str(tmp_path), '--epochs', '4']
    assert study_main([*arguments, '--trials', '2']) == 0
    assert study_main([*arguments, '--trials', '4', '--sampler', 'random']) == 0 and started == [0, 1, 2, 3]
    assert Config.fromfile(tmp_path / 'trial_003/config.py').train_cfg.max_epochs == 4


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--cost', 'macs'], '--cost macs needs the size of an image'),
        (['--cost', 'params', '--shape', '8', '--pruner', 'asha'], "'asha' needs a study with one objective"),
        (['--checkpoint', 'x.pth'], '--checkpoint does not go with --objective train'),
        (['--objective', 'supernet', '--pruner', 'asha'], '--pruner does not go with --objective supernet'),
        (['--objective', 'supernet'], 'needs the checkpoint of the search'),
        (['--objective', 'supernet', '--checkpoint', 'x.pth'], 'is not a search: its model is ImageClassifier'),
        (['--genotypes', 'autola', '--num-groups', '2'], 'autola is not in the space of this study: it has K = 4'),
        (['--genotypes', 'hog_se', '--primitives', 'cbam'], 'it uses se'),
        (['--genotypes', 'autolo'], "Did you mean 'autola'"),
        (['--storage', 'nosuch://x'], 'The storage nosuch://x cannot be opened'),
        (['--storage', '/no/such/folder/x'], 'The storage /no/such/folder/x cannot be opened'),
    ],
)
def test_bad_arguments(tmp_path, fake, capsys, arguments, message):
    assert study_main([TRAIN, '--work-dir', str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_whose_storage_was_removed(tmp_path, fake, capsys):
    """The checkpoints there are of other genotypes."""
    arguments = [TRAIN, '--work-dir', str(tmp_path), '--trials', '1', '--genotypes']
    assert study_main([*arguments, 'hog_se']) == 0
    (tmp_path / 'study.journal').unlink()
    assert study_main([*arguments, 'hog_cbam']) == 2
    assert 'is not the genotype that the study has for this trial' in capsys.readouterr().err


def test_a_study_without_optuna(capsys, monkeypatch):
    from mmhoga.cli.main import main

    for name in [name for name in sys.modules if name.startswith('mmhoga.cli.study')]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith(('mmhoga.studies', 'mmhoga.cli.run.studies'))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'optuna', None)
    assert main(['study', TRAIN]) == 2
    assert "mmhoga study needs optuna, which is not installed: pip install 'mmhoga[study]'" in capsys.readouterr().err


def test_shortened_schedules():
    cfg = load_config(TRAIN)
    shorten(cfg, 3)
    warm_up, cosine = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 3
    assert (warm_up.end, cosine.begin, cosine.end) == (1, 1, 3), 'they were 1, 1 and 8 of 8'
    cfg = Config(dict(train_cfg=dict(max_epochs=100)))
    steps = dict(type='MultiStepLR', milestones=[30, 60, 90], begin=0, end=100)
    cfg.param_scheduler = dict(weights=[steps], alpha=[dict(type='LinearLR', by_epoch=False, begin=0, end=500)])
    shorten(cfg, 20)
    assert cfg.param_scheduler.weights[0].milestones == [6, 12, 18] and cfg.param_scheduler.weights[0].end == 20
    assert cfg.param_scheduler.alpha[0].end == 500, 'it counts iterations'
    with pytest.raises(LaunchError, match=r'no train_cfg\.max_epochs'):
        shorten(Config(dict(train_cfg=dict(max_iters=100))), 3)


def test_pruning_on_the_training_curve(tmp_path, monkeypatch):
    """Median: trials 0 to 4 reach 50 % in epoch 1. Trial 5 has 10 % there, and is ended before epoch 2."""
    ended = []

    def run(self, threads, watch=None, on_start=None):
        number = int(self.work_dir.name[-3:])
        on_start(SimpleNamespace(terminate=lambda: ended.append(number)))
        first = 10.0 if number == 5 else 50.0
        write_run(self, [first])
        watch('Epoch(val) [1][4/4] accuracy/top1: ...')
        watch('Epoch(train) [2][10/15] ...')
        if number not in ended:
            write_run(self, [first, *[60.0] * 7])

    monkeypatch.setattr(Job, 'run', run)
    assert study_main([TRAIN, '--work-dir', str(tmp_path), '--trials', '6', '--pruner', 'median']) == 0
    assert ended == [5]
    ranking = json.loads((tmp_path / 'ranking.json').read_text())
    assert sorted(row['trial'] for row in ranking['trials']) == [0, 1, 2, 3, 4]
    storage = JournalStorage(JournalFileBackend(str(tmp_path / 'study.journal')))
    trials = optuna.load_study(study_name=tmp_path.name, storage=storage).trials
    assert trials[5].state is TrialState.PRUNED and trials[5].intermediate_values == {1: 10.0}
    assert trials[4].state is TrialState.COMPLETE and trials[4].intermediate_values == {1: 50.0}


class ToyNetwork(ToyClassifier):
    """Takes the arguments of the hosts' models."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return super().forward(inputs, mode=mode)


def test_scores_of_a_supernet(tmp_path, monkeypatch, capsys):
    """All 8 genotypes of two candidates. The score is made up, the cost is that of the derived network."""
    model = SearchModel(ToyNetwork(num_groups=2))

    class Score:
        def __init__(self, cfg, checkpoint, data):
            assert (checkpoint, data) == ('epoch_8.pth', 'trainB') and cfg.model.type == 'mmhoga.SearchModel'
            self.model = model

        def __call__(self, genotypes):
            return {'loss': 3.0 - sum(row.count('se') for row in genotypes[''].edges)}

    monkeypatch.setattr(command, 'SupernetScore', Score)
    monkeypatch.setattr(command, 'require_checkpoint', lambda checkpoint: None)
    arguments = [SEARCH, '--work-dir', str(tmp_path), '--objective', 'supernet', '--checkpoint', 'epoch_8.pth']
    arguments += ['--sampler', 'random', '--trials', '8', '--cost', 'params', '--shape', '8']
    assert study_main([*arguments, '--primitives', 'se', 'skip_connect']) == 0
    rows = json.loads((tmp_path / 'ranking.json').read_text())['trials']
    assert [row['loss'] for row in rows] == [0, 1, 1, 1, 2, 2, 2, 3] and all(row['front'] for row in rows)
    edge = operation_complexity('se', 4, 4, 4, model.cells()[0].operation_reduction).params
    assert {row['params'] - rows[-1]['params'] - 2 * edge * (3 - row['loss']) for row in rows} == {0}
    assert edge == 8, '4 channels to 1 and back'
    assert 'scored by the supernet, on the Pareto front (8)' in (tmp_path / 'pareto.svg').read_text()
    assert not list(tmp_path.glob('trial_000/config.py')), 'nothing is trained'
    for wrong in (['--num-groups', '4'], ['--primitives', 'se', 'hand_made']):
        assert study_main([*arguments, *wrong]) == 2
        assert 'The supernet has K = 2 and the candidates none, skip_connect' in capsys.readouterr().err
    assert study_main([*arguments, '--jobs', '2']) == 2


def test_one_genotype_for_every_stage():
    """A search with an alpha per stage is scored with the same genotype in each."""
    seen = {}
    model = SimpleNamespace(named_alphas=lambda: {'layer1': None, 'layer2': None})
    trial = SimpleNamespace(set_user_attr=seen.__setitem__)
    objective = SupernetObjective(type('Score', (), {'model': model, '__call__': lambda self, g: {'a': len(g)}})())
    assert objective(SimpleNamespace(proposal=uniform('se'), trial=trial)) == [2] and seen == {'metrics': {'a': 2}}
    objective.metric = 'b'
    with pytest.raises(ValueError, match=r"no metric 'b'\. It has a"):
        objective(SimpleNamespace(proposal=uniform('se'), trial=trial))
