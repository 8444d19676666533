import time

from mmhoga.analysis import step_time


def test_networks_take_turns(monkeypatch, tmp_path):
    calls = []

    def step(cfg):
        return lambda: (calls.append(cfg.seconds), time.sleep(cfg.seconds))

    monkeypatch.setattr(step_time, '_training_step', step)
    configs = {}
    for name, seconds in (('quick', 0.001), ('slow', 0.02)):
        configs[name] = tmp_path / f'{name}.py'
        configs[name].write_text(f'seconds = {seconds}')
    times = step_time.step_times(configs, rounds=3, warmup=1)
    assert calls == [0.001, 0.02] * 4
    assert times['slow'] >= 0.02 > times['quick'] >= 0.001


def test_a_step_trains(root):
    path = root / 'configs/digits/resnet8_1xb96-8e_digits.py'
    assert 0 < step_time.step_times({'plain': path}, rounds=2, warmup=0)['plain'] < 60
