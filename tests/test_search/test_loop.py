import json
from pathlib import Path

import pytest
import torch
import toy_search
from mmengine.runner import Runner

from mmhoga.genotype import Genotype
from mmhoga.models import HOGA, derive_genotype
from mmhoga.search import GenotypeHook, SearchError, SearchLoop, SearchModel
from mmhoga.search.loop import require_search_loop


def run(config, name, **changes):
    config = config.copy()
    config.merge_from_dict({'experiment_name': name, **changes})
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def stop_at(iteration, run_iter):
    """A ``run_iter`` that raises KeyboardInterrupt at this iteration."""

    def run_or_die(self, *args):
        if self.iter == iteration:
            raise KeyboardInterrupt
        run_iter(self, *args)

    return run_or_die


def test_a_search_writes_genotype_and_history(search_config):
    runner = run(search_config, 'record')
    work_dir = runner.work_dir
    history = json.loads(Path(work_dir, 'search_history.json').read_text())
    assert [entry['epoch'] for entry in history['epochs']] == [1, 2]
    genotype = Genotype.load(f'{work_dir}/genotype.json')
    assert genotype.meta['epoch'] == 2 and genotype.meta['seed'] == 0
    torch.testing.assert_close(torch.tensor(genotype.meta['alpha']), runner.model.alpha.detach())
    assert genotype == derive_genotype(runner.model.alpha) == Genotype(history['epochs'][-1]['genotype'])
    alpha = torch.tensor(history['epochs'][0]['alpha'])
    p = alpha.softmax(-1)
    torch.testing.assert_close(torch.tensor(history['epochs'][0]['entropy']), -(p * p.log()).sum(-1))
    HOGA(8, genotype=f'{work_dir}/genotype.json')


@pytest.mark.parametrize('hooks', [None, [], [dict(type='EMAHook')], [dict(type='mmhoga.GenotypeHook', watch=None)]])
def test_every_search_writes_its_result(search_config, hooks):
    """``custom_hooks`` of a config, or of ``--cfg-options``, replace those of its bases."""
    search_config.custom_hooks = hooks
    runner = run(search_config, f'hooks-{hooks}')
    assert Genotype.load(f'{runner.work_dir}/genotype.json').meta['epoch'] == 2
    assert sum(isinstance(hook, GenotypeHook) for hook in runner.hooks) == 1


def test_a_hook_of_the_config_keeps_its_options(search_config):
    search_config.custom_hooks = [dict(type='mmhoga.GenotypeHook', watch=dict(max_skips=1, action='stop'))]
    runner = run(search_config, 'options')
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, GenotypeHook)]
    assert (hook.watch.max_skips, hook.watch.action) == (1, 'stop')


def test_two_genotype_hooks_are_refused(search_config):
    search_config.custom_hooks = [dict(type='mmhoga.GenotypeHook')] * 2
    with pytest.raises(ValueError, match=r'2 hooks of type mmhoga.GenotypeHook.*Keep one'):
        run(search_config, 'two')


def test_alpha_and_weights_move_each_on_its_own_half(search_config, monkeypatch):
    seen = {'A': [], 'B': []}
    alpha_step, train_step = SearchLoop.alpha_step, SearchModel.train_step

    def spy_alpha(self, data, train_data):
        seen['B'].append(data['inputs'])
        before = {n: p.clone() for n, p in self.runner.model.named_parameters()}
        outputs = alpha_step(self, data, train_data)
        moved = {n for n, p in self.runner.model.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {'alpha'}, 'the step on alpha moves alpha alone'
        return outputs

    def spy_train(self, data, optim_wrapper):
        seen['A'].append(data['inputs'])
        before = {n: p.clone() for n, p in self.named_parameters()}
        outputs = train_step(self, data, optim_wrapper)
        moved = {n for n, p in self.named_parameters() if not torch.equal(p, before[n])}
        assert 'alpha' not in moved and len(moved) > 20, 'the step on the weights does not move alpha'
        return outputs

    monkeypatch.setattr(SearchLoop, 'alpha_step', spy_alpha)
    monkeypatch.setattr(SearchModel, 'train_step', spy_train)
    run(search_config, 'halves')
    images = {part: {image.numpy().tobytes() for batch in batches for image in batch} for part, batches in seen.items()}
    assert len(images['A']) == len(images['B']) == 24 and not images['A'] & images['B']
    assert not torch.equal(seen['B'][0], seen['B'][3]), 'trainB is reshuffled for each epoch'


def test_one_alpha_step_is_adam_on_the_trainb_gradient(search_config):
    """Compared with the first step of Adam written by hand, on the gradient of the trainB loss."""
    runner = Runner.from_cfg(search_config)
    loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    model = runner.model.eval()  # batch norm statistics stay, so that the same loss can be computed twice
    data = next(iter(loop.alpha_dataloader))
    before = model.alpha.detach().clone()
    with model.differentiating_alpha() as (alpha,):
        (gradient,) = torch.autograd.grad(model.loss(data)[0], [alpha])
    loop.alpha_step(data)
    expected = before - 3e-2 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
    torch.testing.assert_close(model.alpha.detach(), expected, rtol=1e-4, atol=1e-6)


def test_trainb_starts_again_when_it_is_shorter(search_config):
    cfg = search_config
    cfg.train_cfg.alpha_dataloader.dataset.fraction = 0.8
    cfg.train_dataloader.dataset.fraction = 0.8
    runner = run(cfg, 'short')
    assert len(runner.train_loop.alpha_dataloader) == 2 < len(runner.train_dataloader) == 5
    assert runner.iter == 10


def test_a_resumed_search_ends_like_an_uninterrupted_one(search_config, monkeypatch):
    whole = run(search_config, 'whole')
    elsewhere = search_config.work_dir + '2'
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SearchLoop, 'run_iter', stop_at(4, SearchLoop.run_iter))
        run(search_config, 'stopped', work_dir=elsewhere)
    resumed = run(search_config, 'resumed', work_dir=elsewhere, resume=True)
    assert torch.equal(resumed.model.alpha, whole.model.alpha)
    histories = [Path(runner.work_dir, 'search_history.json').read_text() for runner in (whole, resumed)]
    assert histories[0] == histories[1]


@pytest.mark.parametrize('order', [1, 2])
def test_a_step_on_alpha_leaves_the_statistics_of_batch_norms(search_config, order):
    """Neither order lets trainB into the running averages or their counters; a step on the weights updates them."""
    search_config.train_cfg.order = order
    runner = Runner.from_cfg(search_config)
    loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    model = runner.model.train()
    model.architecture.stem = torch.nn.Sequential(model.architecture.stem, torch.nn.BatchNorm2d(8, momentum=None))
    data, train_data = next(iter(loop.alpha_dataloader)), next(iter(loop.dataloader))
    momenta = [module.momentum for module in model.modules() if hasattr(module, 'momentum')]

    def buffers():
        return {name: buffer.clone() for name, buffer in model.named_buffers()}

    before = buffers()
    loop.alpha_step(data, train_data)
    assert before.keys() == buffers().keys()
    assert all(torch.equal(buffer, before[name]) for name, buffer in buffers().items())
    assert [module.momentum for module in model.modules() if hasattr(module, 'momentum')] == momenta
    model.train_step(train_data, runner.optim_wrapper['weights'])
    changed = {name.rpartition('.')[2] for name, buffer in buffers().items() if not torch.equal(buffer, before[name])}
    assert changed == {'running_mean', 'running_var', 'num_batches_tracked'}


def test_a_pipeline_switch_reaches_both_halves_and_their_workers(search_config, monkeypatch):
    """mmdet's hook sets the pipeline of trainA in the main process. A resumed search takes the new pipeline too."""
    seen = []

    def run_iter(self, index, data, alpha_data):
        seen.append((self._epoch, float(data['inputs'].max()), float(alpha_data['inputs'].max())))
        original(self, index, data, alpha_data)

    original = SearchLoop.run_iter
    monkeypatch.setattr(SearchLoop, 'run_iter', run_iter)
    search_config.train_dataloader.dataset = search_config.train_dataloader.dataset.dataset
    search_config.train_dataloader.num_workers = 1
    search_config.train_cfg = dict(type='mmhoga.SearchLoop', max_epochs=2, split=dict())
    hook = dict(type='mmdet.PipelineSwitchHook', switch_epoch=1, switch_pipeline=[dict(type='ToyPack', offset=10)])
    search_config.custom_hooks.append(hook)
    whole = run(search_config, 'switch')
    assert len(seen) == 6 and all((low >= 10) == (high >= 10) == (epoch == 1) for epoch, low, high in seen)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SearchLoop, 'run_iter', stop_at(3, SearchLoop.run_iter))
        run(search_config, 'switch stopped', work_dir=search_config.work_dir + '2')
    resumed = run(search_config, 'switch resumed', work_dir=search_config.work_dir + '2', resume=True)
    assert torch.equal(resumed.model.alpha, whole.model.alpha)


def test_alphas_gradient_accumulates(search_config):
    search_config.optim_wrapper.alpha.accumulative_counts = 3
    search_config.train_cfg.max_epochs = 1
    runner = run(search_config, 'accumulate')
    state = runner.optim_wrapper['alpha'].optimizer.state[runner.model.alpha]
    assert int(state['step']) == 1, 'three iterations make one step'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'model': dict(type='ToyClassifier', _delete_=True)}, "model=dict\\(type='mmhoga.SearchModel'"),
        ({'optim_wrapper': dict(_delete_=True, optimizer=dict(type='SGD', lr=0.1))}, 'needs optim_wrapper=dict'),
        (
            {'train_cfg.alpha_dataloader.drop_last': True, 'train_cfg.alpha_dataloader.batch_size': 64},
            'yields no batch',
        ),
    ],
)
def test_configs_of_other_trainings_are_refused(search_config, changes, message):
    search_config.custom_hooks = []
    search_config.param_scheduler = None
    with pytest.raises((TypeError, ValueError), match=message):
        run(search_config, 'bad', **changes)


def test_another_loop_is_refused(search_config):
    """Before, mmengine failed with KeyError: 'alpha'."""
    runner = Runner.from_cfg(search_config)
    require_search_loop(runner)
    for train_cfg, words in (
        (dict(by_epoch=False, max_iters=5), 'IterBasedTrainLoop'),
        (dict(max_epochs=5), 'EpochBasedTrainLoop'),
        (dict(type='IterBasedTrainLoop', max_iters=5), 'IterBasedTrainLoop'),
    ):
        runner._train_loop = train_cfg
        with pytest.raises(SearchError, match=f'mmhoga.SearchLoop uses in turn, but train_cfg has {words}. Set train_'):
            require_search_loop(runner)
    runner.model = toy_search.ToyClassifier()
    require_search_loop(runner)


def test_a_step_for_both_optimizers_is_refused(search_config):
    runner = Runner.from_cfg(search_config)
    wrappers = runner.build_optim_wrapper(runner.optim_wrapper)
    with pytest.raises(TypeError, match=r'two optimizers, which mmhoga\.SearchLoop uses in turn'):
        runner.model.train_step({}, wrappers)


def test_the_hook_refuses_a_model_without_alpha(search_config):
    runner = Runner.from_cfg(search_config)
    runner.model = torch.nn.Linear(1, 1)
    with pytest.raises(TypeError, match='not a Linear; remove it'):
        GenotypeHook().after_train_epoch(runner)


def test_a_validation_loss_joins_the_record_and_tensorboard(search_config, tmp_path):
    """Log lines, history and TensorBoard curves hold the same numbers."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    search_config.merge_from_dict(
        {
            'model.val_loss': True,
            'val_dataloader': {**search_config.train_dataloader, 'sampler': dict(type='DefaultSampler', shuffle=False)},
            'val_evaluator': dict(type='ToyMetric'),
            'val_cfg': dict(),
            'train_cfg.val_interval': 2,
            'visualizer': dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')]),
        }
    )
    runner = run(search_config, 'curves')
    history = json.loads(Path(runner.work_dir, 'search_history.json').read_text())
    first, last = history['epochs']
    assert first['loss'].keys() == {'trainA', 'trainB'} and last['loss'].keys() == {'trainA', 'trainB', 'val'}
    assert history['cell_inputs'] == {'cells.0': [8, 4, 4], 'cells.1': [8, 4, 4]}
    model = runner.model.eval()
    with torch.no_grad():
        batches = [model.loss(data)[0].item() for data in runner.val_dataloader]
    assert last['loss']['val'] == pytest.approx(sum(batches) / len(batches), rel=1e-5)
    logged = runner.message_hub.get_scalar('train/loss').data[0][-3:]
    assert last['loss']['trainA'] == pytest.approx(logged.mean())

    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    lines = [line.partition('INFO - ')[2] for line in log.splitlines() if 'Genotype, epoch' in line]
    assert len(lines) == 2 and lines[1].startswith('Genotype, epoch 2: ')
    assert f'{last["skip_edges"]} skip and {last["none_edges"]} none of 3 edges' in lines[1]
    assert f'val {last["loss"]["val"]:.4g}' in lines[1]

    events = EventAccumulator(str(next(Path(runner.work_dir).glob('*/vis_data'))))
    events.Reload()
    assert [event.step for event in events.Scalars('alpha/macs')] == [1, 2]
    assert events.Scalars('alpha/loss/val')[0].value == pytest.approx(last['loss']['val'], rel=1e-6)
    p = torch.tensor(last['alpha']).softmax(-1)
    assert events.Scalars('alpha/o_0_1/se')[-1].value == pytest.approx(p[1, 6].item(), rel=1e-5)


def test_the_log_of_a_validation_is_that_of_one_validation(search_config):
    """mmengine would average every value whose name contains "loss" over the last ten validations."""
    search_config.merge_from_dict(
        {
            'model.val_loss': True,
            'val_dataloader': {**search_config.train_dataloader, 'sampler': dict(type='DefaultSampler', shuffle=False)},
            'val_evaluator': dict(type='ToyMetric'),
            'val_cfg': dict(),
            'train_cfg.max_epochs': 3,
        }
    )
    runner = run(search_config, 'log')
    history = json.loads(Path(runner.work_dir, 'search_history.json').read_text())
    losses = [entry['loss']['val'] for entry in history['epochs']]
    rows = map(json.loads, next(Path(runner.work_dir).glob('*/vis_data/scalars.json')).read_text().splitlines())
    assert [row['val_loss'] for row in rows if 'val_loss' in row] == pytest.approx(losses)
    assert len(set(losses)) == 3
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert [line.partition('val_loss: ')[2].split()[0] for line in log.splitlines() if 'val_loss: ' in line] == [
        f'{loss:.4f}' for loss in losses
    ]


def test_alphas_gradient_is_clipped(search_config):
    search_config.optim_wrapper.alpha = dict(optimizer=dict(type='SGD', lr=1.0), clip_grad=dict(max_norm=1e-3))
    runner = Runner.from_cfg(search_config)
    loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    before = runner.model.alpha.detach().clone()
    loop.alpha_step(next(iter(loop.alpha_dataloader)))
    assert (runner.model.alpha - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize('hessian', ['finite_difference', 'exact'])
def test_a_search_of_second_order(search_config, hessian):
    search_config.train_cfg.update(max_epochs=1)
    first = run(search_config, 'first', work_dir=search_config.work_dir + '1')
    search_config.train_cfg.update(order=2, hessian=hessian)
    second = run(search_config, 'second')
    assert second.iter == 3
    assert not torch.equal(first.model.alpha, second.model.alpha)


@pytest.mark.parametrize('change', [dict(order=3), dict(order=2, hessian='gauss'), dict(order=2, unroll='all')])
def test_unknown_steps(search_config, change):
    search_config.train_cfg.update(change)
    with pytest.raises(ValueError, match='must be one of'):
        run(search_config, 'bad')


def test_the_log_reports_a_longer_or_shorter_trainb(search_config):
    """A shorter trainB is reshuffled within an epoch, a longer one is cut."""
    search_config.train_cfg.max_epochs = 1
    for fraction, words in (
        (0.8, 'trainB is reshuffled within an epoch'),
        (0.2, 'trainB is cut to 2 batches per epoch'),
    ):
        cfg = search_config.copy()
        cfg.work_dir += str(fraction)
        cfg.train_cfg.alpha_dataloader.dataset.fraction = cfg.train_dataloader.dataset.fraction = fraction
        runner = run(cfg, f'said{fraction}')
        log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
        assert words in log


def test_alpha_that_is_not_finite_stops_the_search(search_config, monkeypatch):
    alpha_loss = SearchModel.alpha_loss

    def fails_at_the_fifth(self, data, calls=[]):  # noqa: B006
        loss, log = alpha_loss(self, data)
        calls.append(loss)
        return (loss * float('nan') if len(calls) == 5 else loss), log

    monkeypatch.setattr(SearchModel, 'alpha_loss', fails_at_the_fifth)
    with pytest.raises(SearchError, match=r'not finite after iteration 5 \(epoch 2\)'):
        run(search_config, 'nan')
    work_dir = Path(search_config.work_dir)
    assert (work_dir / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    assert Genotype.load(work_dir / 'genotype.json').meta['epoch'] == 1
