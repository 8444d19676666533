"""A stopped and resumed search ends like an uninterrupted one; a search that must not resume is refused."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import toy_search
from mmengine.hooks import EarlyStoppingHook, EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype
from mmhoga.models import derive_genotype
from mmhoga.search import SearchError
from mmhoga.search.resume import checkpoint
from mmhoga.search.resume.checkpoint import AtomicBackend, SearchCheckpointHook


class Killed(BaseException):
    """An exception that nothing catches, in place of SIGKILL; benchmarks/kill_and_resume.py sends real ones."""


class CallAt(Hook):
    """Calls a function at one iteration, or within the validation of one epoch."""

    priority = 'LOWEST'

    def __init__(self, function, iteration=None, validation=None):
        self.function, self.iteration, self.validation = function, iteration, validation

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.iteration:
            self.function()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == self.validation:
            self.function()


def killed():
    raise Killed


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def random_search(work_dir):
    """A search with all that a resumed run has to restore.

    Random augmentation, dropout, gradients accumulated across the ends of epochs, averaged weights, early stopping.
    """
    cfg = toy_search.search_config(work_dir)
    cfg.model.architecture.dropout = 0.3
    for loader in (cfg.train_dataloader, cfg.train_cfg.alpha_dataloader):
        loader.dataset.dataset.pipeline.append(dict(type='ToyNoise'))
    cfg.optim_wrapper.weights.accumulative_counts = 2
    cfg.optim_wrapper.alpha.accumulative_counts = 4
    cfg.param_scheduler.alpha = [dict(type='StepLR', step_size=1, gamma=0.5)]
    cfg.val_dataloader = dict(
        batch_size=8,
        dataset=dict(type='mmhoga.Digits', split='test', indices=16, pipeline=[dict(type='ToyPack')]),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    cfg.custom_hooks = [
        dict(type='EMAHook', momentum=0.2, update_buffers=True),
        dict(type='EarlyStoppingHook', monitor='score', rule='greater', min_delta=100.0, patience=3),  # after 4 epochs
    ]
    cfg.val_cfg = dict()
    cfg.val_evaluator = dict(type='ToyMetric')
    return cfg


@pytest.fixture(scope='module')
def whole_search(tmp_path_factory):
    """The state at the end of an uninterrupted search."""
    toy_search.register()
    return state(run(random_search(tmp_path_factory.mktemp('whole'))))


@pytest.fixture
def config(tmp_path):
    return random_search(tmp_path / 'search')


runs = iter(range(10**6))


def run(config, *hooks, **changes):
    config = config.copy()
    config.merge_from_dict({'experiment_name': f'resume{next(runs)}', **changes})
    runner = Runner.from_cfg(config)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def state(runner):
    """Files, tensors, validation scores and losses of a search, and the state of its hooks."""
    files = [Path(runner.work_dir, name).read_bytes() for name in ('search_history.json', 'genotype.json')]
    tensors = {name: value.clone() for name, value in runner.model.state_dict().items()}
    for name, wrapper in runner.optim_wrapper.items():
        for index, values in wrapper.state_dict()['state'].items():
            tensors |= {f'{name}.{index}.{k}': v for k, v in values.items() if isinstance(v, torch.Tensor)}
    ema, stopping = the_hook(runner, EMAHook), the_hook(runner, EarlyStoppingHook)
    tensors |= {f'ema.{name}': value.clone() for name, value in ema.ema_model.state_dict().items()}
    scores = runner.message_hub.get_scalar('val/score').data[0].tolist()
    losses = runner.message_hub.get_scalar('train/alpha_loss').data[0].tolist()
    return files, tensors, scores, losses, (stopping.wait_count, stopping.best_score)


def the_hook(runner, kind):
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, kind)]
    return hook


def assert_same(runner, whole):
    (files, tensors, *logs), (other_files, other_tensors, *other_logs) = state(runner), whole
    assert files == other_files
    assert logs == other_logs
    assert tensors.keys() == other_tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(value, other_tensors[name]), name


def leftovers(config):
    return list(Path(config.work_dir).glob('.*.tmp'))


@pytest.mark.parametrize(
    ('hook', 'workers'),
    [
        (dict(function=killed, iteration=0), 0),
        (dict(function=killed, iteration=4), 2),
        (dict(function=killed, validation=2), 0),
        (dict(function=terminated, iteration=1), 2),
        (dict(function=terminated, iteration=2), 0),  # the last of its epoch
        (dict(function=terminated, validation=1), 0),
    ],
    ids=lambda value: str({**value, 'function': value['function'].__name__} if isinstance(value, dict) else value),
)
def test_stopped_anywhere(config, hook, workers, whole_search):
    """The interrupted run may have another number of workers than the resumed one."""
    with pytest.raises((Killed, SystemExit)) as raised:
        run(config, CallAt(**hook), **{'train_dataloader.num_workers': workers})
    if hook['function'] is terminated:
        assert raised.value.code == 143
    resumed = run(config, resume=True)
    assert_same(resumed, whole_search)
    assert not list(Path(config.work_dir).glob('interrupted*')), 'removed with the next checkpoint'


def test_a_search_with_a_placement(config, tmp_path):
    config.model.placement = {}
    whole = state(run(config, work_dir=str(tmp_path / 'whole')))
    assert any(name.endswith('.beta') for name in whole[1]) and b'"beta"' in whole[0][0]
    with pytest.raises(Killed):
        run(config, CallAt(killed, iteration=4))
    assert_same(run(config, resume=True), whole)


def test_early_stopping_counts_on(config):
    """The metric never improves by ``min_delta``, so a search ends ``patience`` epochs after the first."""
    config.train_cfg.max_epochs = 8
    with pytest.raises(Killed):
        run(config, CallAt(killed, iteration=7))
    assert run(config, resume=True).epoch == 4
    assert run(config, resume=True).epoch == 4, 'a search that ended stays ended'


def test_early_stopping_on_another_metric_starts_afresh(config):
    with pytest.raises(Killed):
        run(config, CallAt(killed, iteration=4))
    config.custom_hooks[1].update(monitor='loss', rule='less')
    runner = run(config, resume=True)
    assert the_hook(runner, EarlyStoppingHook).best_score == float('inf')
    assert 'watched score (greater) and now watches loss (less)' in next(Path(runner.log_dir).glob('*.log')).read_text()


@HOOKS.register_module(force=True)
class CountingHook(Hook):
    """A hook of a user, with the methods that make a search save its state."""

    def __init__(self):
        self.count = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.count += 1

    def state_dict(self):
        return {'count': self.count}

    def load_state_dict(self, state):
        self.count = state['count']


def test_hooks_of_users_keep_their_state(search_config):
    search_config.custom_hooks = [dict(type='CountingHook'), dict(type='CountingHook')]
    with pytest.raises(SystemExit):
        run(search_config, CallAt(terminated, iteration=3))
    runner = run(search_config, resume=True)
    assert [hook.count for hook in runner.hooks if isinstance(hook, CountingHook)] == [6, 6]


def test_the_record_of_a_search_needs_only_the_checkpoint(config, tmp_path, whole_search):
    """A search that continues in another folder has the whole history, with the validation of the first epoch."""
    with pytest.raises(SystemExit):
        run(config, CallAt(terminated, iteration=4))
    (interrupted,) = Path(config.work_dir).glob('interrupted*')
    Path(config.work_dir, 'search_history.json').write_text('{"spoilt')
    assert_same(run(config, resume=True, load_from=str(interrupted), work_dir=str(tmp_path / 'other')), whole_search)


def raw_alphas(checkpoint):
    """Every entry of a checkpoint that is called alpha."""
    states = {**checkpoint['state_dict'], **checkpoint['ema_state_dict']}
    return {name: value for name, value in states.items() if name.rpartition('.')[2] == 'alpha'}


def test_the_genotype_is_that_of_every_alpha_in_the_checkpoint(config):
    """EMAHook averages the weights and leaves alpha as it is, also after a resume."""
    with pytest.raises(Killed):
        run(config, CallAt(killed, iteration=4))
    for epoch in (1, 2):
        genotype = Genotype.load(Path(config.work_dir, 'genotype.json'))
        checkpoint = torch.load(Path(config.work_dir, f'epoch_{epoch}.pth'), weights_only=True)
        assert genotype.meta['epoch'] == epoch
        assert genotype == derive_genotype(checkpoint['state_dict']['alpha'])
        alphas = raw_alphas(checkpoint)
        assert len(alphas) == 6, 'the model and two cells, each raw and averaged'
        for name, alpha in alphas.items():
            assert torch.equal(alpha, torch.tensor(genotype.meta['alpha'])), name
        raw, average = 'module.architecture.fc.weight', 'architecture.fc.weight'  # EMAHook exchanges them
        assert not torch.equal(checkpoint['ema_state_dict'][raw], checkpoint['state_dict'][average])
        if epoch == 1:
            run(config, resume=True)


def test_validation_uses_averaged_weights_with_the_raw_alpha(config):
    config.custom_hooks[0].update_buffers = False
    seen = []

    class Look(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.model.alpha.clone(), runner.model.architecture.fc.weight.clone()))

    runner = run(config, Look())
    average = torch.load(Path(config.work_dir, 'epoch_2.pth'), weights_only=True)['state_dict']
    assert torch.equal(seen[-1][0], runner.model.alpha) and torch.equal(seen[-1][0], average['alpha'])
    assert torch.equal(seen[-1][1], average['architecture.fc.weight'])
    assert not torch.equal(seen[-1][1], runner.model.architecture.fc.weight)


@pytest.mark.parametrize(
    ('moment', 'keep'),
    [
        ('half of the checkpoint', 1),
        ('half of the checkpoint', -1),
        ('before last_checkpoint', 1),
        ('before the oldest is removed', 1),
    ],
)
def test_killed_while_a_checkpoint_is_written(config, whole_search, monkeypatch, moment, keep):
    config.default_hooks.checkpoint.max_keep_ckpts = keep
    put, calls = AtomicBackend.put, []

    def put_half(self, obj, path):
        calls.append(path)
        if len(calls) == 2:
            half = Path(path).with_name(f'.{Path(path).name}.1-{"0" * 32}.tmp')
            half.write_bytes(obj[: len(obj) // 2])
            raise Killed
        put(self, obj, path)

    def write(path, content):
        if Path(path).name == 'last_checkpoint' and Path(path).exists():
            raise Killed
        write_atomic(path, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        if moment == 'half of the checkpoint':
            patch.setattr(AtomicBackend, 'put', put_half)
        elif moment == 'before last_checkpoint':
            patch.setattr(checkpoint, 'write_atomic', write)
        else:
            remove = SearchCheckpointHook._remove_older
            patch.setattr(
                SearchCheckpointHook,
                '_remove_older',
                lambda self, step: killed() if step == 2 else remove(self, step),
            )
        run(config)
    for path in Path(config.work_dir).glob('*.pth'):
        torch.load(path, weights_only=True)
    assert Path(Path(config.work_dir, 'last_checkpoint').read_text()).is_file()
    resumed = run(config, resume=True)
    assert_same(resumed, whole_search)
    assert not leftovers(config)
    if keep == 1 and moment != 'before the oldest is removed':
        assert {path.name for path in Path(config.work_dir).glob('*.pth')} == {'epoch_2.pth', 'derived.pth'}


def test_a_full_disk(config, monkeypatch):
    """The previous checkpoint stays, and the message names it."""
    real = os.fsync
    big = []

    def full(descriptor):
        if os.fstat(descriptor).st_size > 20_000:
            big.append(descriptor)
            if len(big) == 2:
                raise OSError(28, 'No space left on device')
        real(descriptor)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(SearchError, match=r'epoch_2\.pth could not be written.*No space left.*epoch_1\.pth'):
        run(config)
    assert not leftovers(config)
    assert not Path(config.work_dir, 'epoch_2.pth').exists()
    torch.load(Path(config.work_dir, 'last_checkpoint').read_text(), weights_only=True)


def test_what_changed_in_the_config_applies_from_the_checkpoint_on(config):
    """mmengine itself would load the learning rates and schedules of the checkpoint."""
    with pytest.raises(Killed):
        run(config, CallAt(killed, iteration=4))
    schedule = [dict(type='CosineAnnealingLR', T_max=3, eta_min=0.0, by_epoch=True)]
    changes = {'optim_wrapper.weights.optimizer.lr': 0.5, 'optim_wrapper.alpha.optimizer.lr': 0.2}
    changes |= {'param_scheduler.weights': schedule, 'train_cfg.max_epochs': 3}
    runner = run(config, resume=True, **changes)
    rates = [runner.message_hub.get_scalar(f'train/{name}.lr').data[0] for name in ('weights', 'alpha')]
    assert rates[0][::3] == pytest.approx([0.1, 0.375, 0.125]) and rates[1][::3] == pytest.approx([0.03, 0.1, 0.05])
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'Changed in the config: max_epochs from 2 to 3, weights.groups.0.initial_lr from 0.1 to 0.5' in log


def both_halves(**changes):
    halves = ('train_dataloader.dataset', 'train_cfg.alpha_dataloader.dataset')
    return {f'{half}.{key}': value for half in halves for key, value in changes.items()}


class TestRefusals:
    @pytest.fixture(scope='class')
    def begun(self, tmp_path_factory):
        """A search killed in its second epoch; the tests do not change its folder."""
        toy_search.register()
        cfg = toy_search.search_config(tmp_path_factory.mktemp('begun'))
        with pytest.raises(Killed):
            run(cfg, CallAt(killed, iteration=4))
        return cfg

    @pytest.mark.parametrize(
        ('changes', 'message'),
        [
            ({'model.architecture.num_groups': 4}, r'K \(num_groups\) was 2, now is 4'),
            ({'model.architecture.width': 16}, 'number of weights was'),
            (both_halves(seed=1), "split of trainA was .*'seed': 0.*'seed': 1"),
            (both_halves(fraction=0.4), 'samples in trainB was 24, now is 29'),
            ({'randomness.seed': 1}, r'seed \(randomness.seed\) was 0, now is 1'),
        ],
    )
    def test_another_search(self, begun, changes, message):
        with pytest.raises(SearchError, match=f'of another search: .*{message}.*--work-dir'):
            run(begun, resume=True, **changes)

    def test_a_new_search_does_not_overwrite_another(self, begun):
        before = {path: path.read_bytes() for path in Path(begun.work_dir).glob('*.*')}
        with pytest.raises(SearchError, match=r'holds a run, up to epoch_1\.pth.*--resume.*--work-dir'):
            run(begun)
        assert all(path.read_bytes() == content for path, content in before.items() if path.suffix != '.py')

    def test_another_batch_size_in_the_middle_of_an_epoch(self, search_config):
        with pytest.raises(SystemExit):
            run(search_config, CallAt(terminated, iteration=4))
        with pytest.raises(SearchError, match='the middle of an epoch of 1 processes with 3 batches'):
            run(search_config, resume=True, **{'train_dataloader.batch_size': 4})

    def test_another_batch_size_between_epochs_warns(self, begun, tmp_path):
        work_dir = shutil.copytree(begun.work_dir, tmp_path / 'moved')
        path = work_dir / 'epoch_1.pth'
        saved = torch.load(path, weights_only=True)
        del saved['search']['settings'], saved['search']['identity']['split (train_cfg.split)']
        torch.save(saved, path)  # as older versions wrote it
        changes = {'train_dataloader.batch_size': 4, 'train_cfg.max_epochs': 3}  # more epochs are allowed
        runner = run(begun, resume=True, load_from=str(path), work_dir=str(work_dir), **changes)
        assert (runner.epoch, runner.iter) == (3, 3 * 6)
        log = next(Path(runner.log_dir).glob('*.log')).read_text()
        assert 'the result will not be exact' in log and 'of an older version: its learning rates' in log

    def test_another_split(self, search_config):
        search_config.train_dataloader.dataset = search_config.train_dataloader.dataset.dataset
        search_config.train_cfg = dict(type='mmhoga.SearchLoop', max_epochs=2, split=dict(fraction=0.5))
        with pytest.raises(SystemExit):
            run(search_config, CallAt(terminated, iteration=0))
        for change, words in ((('seed', 1), "'seed': 0.*'seed': 1"), (('stratified', False), "'stratified': False")):
            with pytest.raises(SearchError, match=rf'another search: split \(train_cfg.split\) was .*{words}'):
                run(search_config, resume=True, **{f'train_cfg.split.{change[0]}': change[1]})

    def test_a_random_seed_is_restored(self, search_config):
        search_config.randomness.seed = None
        with pytest.raises(Killed):
            run(search_config, CallAt(killed, iteration=4))
        saved = torch.load(Path(search_config.work_dir, 'epoch_1.pth'), weights_only=True)
        runner = run(search_config, resume=True)
        assert runner.seed == saved['meta']['seed'] == runner.train_dataloader.sampler.seed


def test_the_best_checkpoint_is_kept_too(config):
    config.default_hooks.checkpoint.update(save_best='score', rule='greater')
    with pytest.raises(Killed):
        run(config, CallAt(killed, validation=2))
    runner = run(config, resume=True)
    assert len(list(Path(runner.work_dir).glob('best_score_epoch_*.pth'))) == 1


def test_without_a_checkpoint_hook_sigterm_still_saves(search_config):
    search_config.default_hooks.checkpoint = None
    with pytest.raises(SystemExit):
        run(search_config, CallAt(terminated, iteration=4))
    assert Path(search_config.work_dir, 'last_checkpoint').read_text().endswith('interrupted_iter_5.pth')
    assert run(search_config, resume=True).iter == 6
