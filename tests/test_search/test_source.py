"""The checkpoint that a run resumes from: a copied work_dir, and checkpoints that lack state."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import METRICS
from mmengine.runner import Runner

from mmhoga.cli.run.runner import run_config
from mmhoga.hosts import LaunchError
from mmhoga.search import SearchError


class Terminate(Hook):
    """SIGTERM in the second of two epochs of three iterations, after the validation of the first."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 4:
            os.kill(os.getpid(), signal.SIGTERM)


class Rising(BaseMetric):
    """Every validation is better than the one before."""

    validations = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        Rising.validations += 1
        return {'score': float(Rising.validations)}


@pytest.fixture
def config(search_config):
    METRICS.register_module(module=Rising, force=True)
    loader = dict(search_config.train_dataloader, sampler=dict(type='DefaultSampler', shuffle=False))
    search_config.merge_from_dict(
        {
            'val_dataloader': loader,
            'val_cfg': dict(),
            'val_evaluator': dict(type='Rising'),
            'default_hooks.checkpoint.save_best': 'score',
            'default_hooks.checkpoint.rule': 'greater',
        }
    )
    yield search_config
    METRICS.module_dict.pop('Rising')


@pytest.fixture
def training(config):
    """An ordinary training of the same network, for one epoch."""
    config.merge_from_dict(
        {
            'model': dict(type='ToyClassifier', _delete_=True),
            'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=1, _delete_=True),
            'optim_wrapper': dict(optimizer=dict(type='SGD', lr=0.1), _delete_=True),
            'custom_hooks': [],
            'launcher': 'none',
        }
    )
    config.param_scheduler = [dict(type='StepLR', step_size=1, gamma=0.1)]
    return config


names = iter(range(10**6))


def search(config, *hooks, **changes):
    config = config.copy()
    config.merge_from_dict({'experiment_name': f'source{next(names)}', **changes})
    runner = Runner.from_cfg(config)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def train(config, **changes):
    """As ``mmhoga train`` runs a config. Returns the text of the log."""
    config = config.copy()
    config.merge_from_dict({'experiment_name': f'source{next(names)}', **changes})
    run_config(config, ['train', 'val'], Runner.train)
    return newest_log(config.work_dir)


def newest_log(work_dir):
    return max(Path(work_dir).glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()


def contents(work_dir):
    return {path: path.read_bytes() for path in Path(work_dir).glob('*') if path.is_file()}


def test_a_copied_search_continues_in_its_own_folder(config):
    """Also the best checkpoint that it replaces is its own: mmengine's message hub holds the original's path."""
    with pytest.raises(SystemExit):
        search(config, Terminate())
    copy = shutil.copytree(config.work_dir, config.work_dir + '_copy')
    original = contents(config.work_dir)
    search(config, work_dir=copy, resume=True)
    assert contents(config.work_dir) == original
    assert f'Load checkpoint from {copy}/interrupted_iter_5.pth' in newest_log(copy)
    assert [path.name for path in Path(copy).glob('best_*')] == ['best_score_epoch_2.pth']
    assert Path(copy, 'last_checkpoint').read_text() == f'{copy}/epoch_2.pth'


def test_a_copied_training_continues_in_its_own_folder(training):
    train(training)
    copy = shutil.copytree(training.work_dir, training.work_dir + '_copy')
    original = contents(training.work_dir)
    changes = {'train_cfg.max_epochs': 2, 'resume': True, 'load_from': f'{copy}/epoch_1.pth'}
    train(training, work_dir=copy, **changes)
    assert contents(training.work_dir) == original
    assert [path.name for path in Path(copy).glob('best_*')] == ['best_score_epoch_2.pth']


def test_a_fork_forgets_the_best_file_of_another_folder(training, tmp_path):
    train(training)
    original = contents(training.work_dir)
    changes = {'train_cfg.max_epochs': 2, 'resume': True, 'load_from': f'{training.work_dir}/epoch_1.pth'}
    train(training, work_dir=str(tmp_path / 'fork'), **changes)
    assert contents(training.work_dir) == original


def test_a_checkpoint_folder_of_its_own(training, tmp_path):
    """With ``out_dir`` the checkpoints are in another folder, and the older best one is removed there."""
    training.default_hooks.checkpoint.out_dir = str(tmp_path / 'out')
    train(training)
    folder = tmp_path / 'out' / Path(training.work_dir).name
    train(training, resume=True, load_from=str(folder / 'epoch_1.pth'), **{'train_cfg.max_epochs': 2})
    assert [path.name for path in folder.glob('best_*')] == ['best_score_epoch_2.pth']


LACKS = r'no optimizer state and no learning rate schedule\..*best_\*\.pth.*save_optimizer=False'


def test_a_search_does_not_resume_without_its_optimizers(config):
    search(config)
    best = f'{config.work_dir}/best_score_epoch_2.pth'
    with pytest.raises(SearchError, match=rf'best_score_epoch_2\.pth has {LACKS}.*load_from instead of resume'):
        search(config, resume=True, load_from=best)
    torch.save({'state_dict': torch.load(best, weights_only=True)['state_dict']}, f'{config.work_dir}/weights.pth')
    with pytest.raises(SearchError, match=r'weights\.pth has no epoch and iteration and no logs and no opt'):
        search(config, resume=True, load_from=f'{config.work_dir}/weights.pth')
    search(config, load_from=best, work_dir=config.work_dir + '2')


def test_a_training_warns_without_its_optimizer(training):
    train(training)
    best = f'{training.work_dir}/best_score_epoch_1.pth'
    torch.save({'state_dict': torch.load(best, weights_only=True)['state_dict']}, f'{training.work_dir}/weights.pth')
    log = train(training, resume=True, load_from=best, **{'train_cfg.max_epochs': 2})
    assert 'has no optimizer state and no learning rate schedule' in log and 'They start anew here' in log
    with pytest.raises(LaunchError, match=r'weights\.pth has no epoch and iteration and no logs.*load_from instead of'):
        train(training, resume=True, load_from=f'{training.work_dir}/weights.pth')


def test_a_search_that_saves_no_optimizer_warns_but_stops_resumably(config):
    config.default_hooks.checkpoint.save_optimizer = False
    with pytest.raises(SystemExit):
        search(config, Terminate())
    assert 'this search cannot be resumed from its checkpoints' in newest_log(config.work_dir)
    assert search(config, resume=True).iter == 6


def test_a_training_on_a_full_disk(training, monkeypatch):
    """The checkpoint of the epoch before stays, and no part of the new one."""
    fsync, put = os.fsync, LocalBackend.put

    def fails(path):
        return Path(training.work_dir, 'epoch_1.pth').exists() and 'json' not in str(path)

    def full_fsync(descriptor):
        if fails(Path(f'/proc/self/fd/{descriptor}').readlink()):
            raise OSError(28, 'No space left on device')
        fsync(descriptor)

    def full_put(self, obj, path):
        if fails(path):
            Path(path).touch()
            raise OSError(28, 'No space left on device', path)
        put(self, obj, path)

    training.default_hooks.checkpoint.save_best = None
    monkeypatch.setattr(os, 'fsync', full_fsync)
    monkeypatch.setattr(LocalBackend, 'put', full_put)
    with pytest.raises(LaunchError, match=r'No space left on device\. The last checkpoint is .*epoch_1\.pth\. Free'):
        train(training, **{'train_cfg.max_epochs': 2})
    assert [path.name for path in Path(training.work_dir).glob('*.pth')] == ['epoch_1.pth']
    torch.load(Path(training.work_dir, 'epoch_1.pth'), weights_only=True)
    assert not list(Path(training.work_dir).glob('.*.tmp'))


def test_a_spoilt_record_of_the_last_checkpoint(search_config):
    search(search_config, **{'train_cfg.max_epochs': 1})
    Path(search_config.work_dir, 'last_checkpoint').write_text('')  # mmengine, killed while it wrote
    with pytest.raises(SearchError, match=r'no such file, here or there\. The newest checkpoint there is epoch_1\.pth'):
        search(search_config, resume=True)
