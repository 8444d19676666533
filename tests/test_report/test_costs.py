import time

import torch
from torch import nn

from mmhoga.report import costs


def test_networks_take_turns(monkeypatch, tmp_path):
    calls = []

    def step(cfg):
        return lambda: (calls.append(cfg.seconds), time.sleep(cfg.seconds))

    monkeypatch.setattr(costs, '_training_step', step)
    configs = {}
    for name, seconds in (('quick', 0.001), ('slow', 0.02)):
        configs[name] = tmp_path / f'{name}.py'
        configs[name].write_text(f'seconds = {seconds}')
    times = costs.step_times(configs, rounds=3, warmup=1)
    assert calls == [0.001, 0.02] * 4
    assert times['slow'] >= 0.02 > times['quick'] >= 0.001


def test_a_step_trains(root):
    path = root / 'configs/digits/resnet8_1xb96-8e_digits.py'
    assert 0 < costs.step_times({'plain': path}, rounds=2, warmup=0)['plain'] < 60


def test_images_by_turns(monkeypatch, tmp_path):
    """One image of the shape at a time, in eval mode, without gradients; the models are built once."""
    seen = []

    class Model(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            seen.append((self.name, tuple(x.shape), self.training, torch.is_grad_enabled()))

    monkeypatch.setattr(costs, 'build_model', lambda cfg: Model(cfg.name))
    configs = {}
    for name in ('a', 'b'):
        configs[name] = tmp_path / f'{name}.py'
        configs[name].write_text(f'name = {name!r}')
    times = costs.image_times(configs, (3, 4, 5), rounds=2, warmup=1)
    assert seen == [(name, (1, 3, 4, 5), False, False) for name in 'ababab']
    assert list(times) == ['a', 'b'] and min(times.values()) > 0


def test_an_image_of_a_config(root):
    path = root / 'configs/digits/hoga-resnet8_1xb96-8e_digits.py'
    assert 0 < costs.image_times({'HOGA': path}, (1, 8, 8), rounds=1, warmup=0)['HOGA'] < 60
