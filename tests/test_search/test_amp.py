"""Mixed precision of both optimizers.

mmengine's wrapper refuses a CPU. These tests replace its check for a GPU, and use the scaler and autocast (bfloat16) of
the CPU.
"""

from functools import partial

import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner

from mmhoga.search import SearchModel


@pytest.fixture(autouse=True)
def cpu_scaler(monkeypatch):
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))


@pytest.fixture
def amp_config(search_config):
    for name in ('weights', 'alpha'):
        search_config.optim_wrapper[name].update(type='AmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic')
    return search_config


def build(cfg):
    runner = Runner.from_cfg(cfg)
    loop = runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    return loop, runner.model, next(iter(loop.alpha_dataloader)), next(iter(loop.dataloader))


def gradient(cfg, work_dir, kind, **step):
    """The gradient of alpha: one update by plain gradient descent with learning rate 1."""
    cfg = cfg.copy()
    cfg.work_dir += work_dir
    cfg.train_cfg.update(step)
    cfg.optim_wrapper.alpha = dict(cfg.optim_wrapper.alpha, type=kind, optimizer=dict(type='SGD', lr=1.0))
    cfg.optim_wrapper.weights = dict(cfg.optim_wrapper.weights, type=kind)
    if kind == 'OptimWrapper':
        for wrapper in (cfg.optim_wrapper.alpha, cfg.optim_wrapper.weights):
            del wrapper['dtype'], wrapper['loss_scale']
    torch.manual_seed(0)
    loop, model, *data = build(cfg)
    before = model.alpha.detach().clone()
    loop.alpha_step(*data)
    return before - model.alpha.detach()


@pytest.mark.parametrize('step', [{}, dict(order=2, hessian='exact')], ids=['first', 'second'])
def test_the_loss_scale_cancels_in_alphas_gradient(amp_config, step):
    """The scale is 65536; the remaining difference is the error of bfloat16, about an eighth in this network."""
    half = gradient(amp_config, 'half', 'AmpOptimWrapper', **step)
    full = gradient(amp_config, 'full', 'OptimWrapper', **step)
    assert not torch.equal(half, full)
    assert (half - full).norm() < 0.3 * full.norm()


def test_an_overflow_costs_one_step(amp_config, monkeypatch):
    """Alpha is unchanged and finite, and the next loss scale is half."""
    loop, model, *data = build(amp_config)
    scaler = loop.runner.optim_wrapper['alpha'].loss_scaler
    before, scale = model.alpha.detach().clone(), None
    _, log = model.loss(data[0])
    with monkeypatch.context() as patch:
        patch.setattr(SearchModel, 'alpha_loss', lambda self, data: (self.loss(data)[0] * float('inf'), log))
        loop.alpha_step(*data)
    scale = scaler.get_scale()
    assert scale == 32768 and torch.equal(model.alpha, before)
    loop.alpha_step(*data)
    assert not torch.equal(model.alpha, before)


def test_a_resumed_search_keeps_both_loss_scales(amp_config):
    amp_config.train_cfg.max_epochs = 1
    amp_config.optim_wrapper.alpha.loss_scale = dict(init_scale=8.0, growth_interval=2)
    runner = Runner.from_cfg(amp_config)
    runner.train()
    assert runner.optim_wrapper['alpha'].loss_scaler.get_scale() == 16
    amp_config.train_cfg.max_epochs = 2
    amp_config.update(resume=True, experiment_name='goes_on')
    resumed = Runner.from_cfg(amp_config)
    resumed.train()
    assert resumed.optim_wrapper['alpha'].loss_scaler.get_scale() == 64, 'at steps 4 and 6'
    assert resumed.optim_wrapper['weights'].loss_scaler.get_scale() == 65536
