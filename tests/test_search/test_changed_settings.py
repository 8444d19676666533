"""A resumed search with another learning rate, schedule or number of epochs."""

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn

from mmhoga.search import SearchError
from mmhoga.search.resume.settings import apply_changes, settings

pytestmark = pytest.mark.filterwarnings('ignore:.*optimizer.step')
EPOCHS, LENGTH = 6, 3
COSINE = dict(type='CosineAnnealingLR', T_max=6, eta_min=1e-3, by_epoch=True, end=6)
WARMUP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5)
STEPS = dict(type='MultiStepLR', milestones=[2, 4], gamma=0.5, by_epoch=True, end=6)


class Loop:
    def __init__(self, max_epochs=EPOCHS):
        self.max_epochs, self.settings, self.dataloader = max_epochs, {'order': 1}, range(LENGTH)


class Log(list):
    info = list.append


class Run:
    """The optimizers and schedulers of a run, without a model to train; ``lr`` is recorded for each iteration."""

    def __init__(self, weights=(WARMUP, COSINE), alpha=(STEPS,), lr=0.1, alpha_lr=0.01, momentum=0.9, **kwargs):
        self.logger, self.train_loop = Log(), Loop(**kwargs)
        self.train_dataloader = self.train_loop.dataloader
        sgd = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=lr, momentum=momentum)
        adam = torch.optim.Adam([nn.Parameter(torch.zeros(2))], lr=alpha_lr)
        self.optim_wrapper = OptimWrapperDict(weights=OptimWrapper(sgd), alpha=OptimWrapper(adam))
        self.max_epochs, self.max_iters, self._train_loop = EPOCHS, EPOCHS * LENGTH, None
        self.param_schedulers = {
            'weights': Runner._build_param_scheduler(self, list(weights), self.optim_wrapper['weights']),
            'alpha': Runner._build_param_scheduler(self, list(alpha), self.optim_wrapper['alpha']),
        }
        self.settings = settings(self)
        self.rates = []

    def train(self, epochs, iterations=0, start=(0, 0)):
        """To ``iterations`` after ``epochs``, from ``start``; mmengine's hook in short."""
        for epoch in range(start[0], epochs + 1):
            first = start[1] if epoch == start[0] else 0
            for _ in range(first, LENGTH if epoch < epochs else iterations):
                self.rates.append([wrapper.param_groups[0]['lr'] for wrapper in self.optim_wrapper.values()])
                self.step(by_epoch=False)
            if epoch < epochs:
                self.step(by_epoch=True)
        return self

    def step(self, by_epoch):
        for schedulers in self.param_schedulers.values():
            for scheduler in schedulers:
                if scheduler.by_epoch == by_epoch:
                    scheduler.step()

    def checkpoint(self, epochs, iterations):
        return {
            'meta': {'epoch': epochs, 'iter': epochs * LENGTH + iterations},
            'search': {'batches_per_epoch': LENGTH, 'settings': self.settings},
            'optimizer': self.optim_wrapper.state_dict(),
            'param_schedulers': {n: [s.state_dict() for s in each] for n, each in self.param_schedulers.items()},
        }

    def resume(self, checkpoint):
        apply_changes(self, checkpoint, checkpoint['search']['settings'], self.settings)
        self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        for name, schedulers in self.param_schedulers.items():
            for scheduler, state in zip(schedulers, checkpoint['param_schedulers'][name]):
                scheduler.load_state_dict(state)
        return self


CHANGES = [
    dict(),
    dict(lr=0.3),
    dict(alpha_lr=0.05),
    dict(weights=[WARMUP, {**COSINE, 'T_max': 9, 'end': 9}]),
    dict(weights=[COSINE]),
    dict(weights=[]),
    dict(alpha=[{**STEPS, 'milestones': [1]}]),
    dict(alpha=[STEPS, WARMUP]),
    dict(weights=[{**WARMUP, 'end': 9}, {**STEPS, 'gamma': 0.3}], lr=0.2, alpha_lr=0.02, alpha=[]),
]


@pytest.mark.parametrize('changes', CHANGES, ids=str)
@pytest.mark.parametrize('stop', [(0, 2), (2, 0), (3, 1), (3, 3)])
def test_what_the_config_says_wins(changes, stop):
    """The rest of the run has the learning rates of a run that had the new settings from its start, bit for bit."""
    stopped = Run().train(*stop)
    resumed = Run(**changes).resume(stopped.checkpoint(*stop)).train(EPOCHS, start=stop)
    whole = Run(**changes).train(EPOCHS)
    assert resumed.rates == whole.rates[stop[0] * LENGTH + stop[1] :]
    assert bool(resumed.logger) == bool(changes)


def test_an_unchanged_config_changes_nothing():
    """Also if a hook has set a value that no scheduler would: it stays."""
    stopped = Run().train(2)
    checkpoint = stopped.checkpoint(2, 0)
    checkpoint['optimizer']['weights']['param_groups'][0]['lr'] = 0.123
    resumed = Run().resume(checkpoint)
    assert resumed.optim_wrapper['weights'].param_groups[0]['lr'] == 0.123 and not resumed.logger


def test_the_log_names_what_changed():
    checkpoint = Run().train(2).checkpoint(2, 0)
    resumed = Run(lr=0.3, weights=[WARMUP, {**COSINE, 'T_max': 9}], max_epochs=9).resume(checkpoint)
    assert resumed.logger == [
        'Changed in the config: max_epochs from 6 to 9, weights.groups.0.initial_lr from 0.1 to 0.3, '
        'weights.schedulers.1.T_max from 6 to 9. The search continues with the new settings.'
    ]


def test_momentum_buffers_stay_and_momentum_changes():
    stopped = Run().train(2)
    weight = stopped.optim_wrapper['weights'].optimizer.param_groups[0]['params'][0]
    stopped.optim_wrapper['weights'].optimizer.state[weight]['momentum_buffer'] = torch.ones(1, 2)
    resumed = Run(momentum=0.5).resume(stopped.checkpoint(2, 0)).optim_wrapper['weights'].optimizer
    assert resumed.param_groups[0]['momentum'] == 0.5
    assert torch.equal(resumed.state[resumed.param_groups[0]['params'][0]]['momentum_buffer'], torch.ones(1, 2))


class TestRefusals:
    def refused(self, run, message):
        with pytest.raises(SearchError, match=message):
            run.resume(Run().train(2).checkpoint(2, 0))

    def test_of_another_optimizer(self):
        run = Run()
        run.settings['weights']['type'] = 'AdamW'
        self.refused(run, 'the optimizer of weights was SGD, now is AdamW')

    def test_of_other_groups(self):
        run = Run()
        run.settings['weights']['parameters'] = [1, 1]
        self.refused(run, r'parameters in each group of weights was \[2\], now is \[1, 1\]')

    def test_of_schedules_that_depend_on_validations(self):
        run = Run(weights=[dict(type='ReduceOnPlateauLR', monitor='score', rule='greater')])
        self.refused(run, 'depend on past validations')
