"""What mmengine and a search write into work directories, with made-up numbers."""

import json
import math
import random

import pytest

from mmhoga.genotype import PRIMITIVES, edge_list

CONFIG = """
default_scope = 'mmpretrain'
randomness = dict(deterministic=False, seed={seed})
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhoga.CIFARResNet', depth=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')))
"""


def train_row(step, epoch, loss, time=0.05):
    return {'lr': 0.1, 'data_time': 0.001, 'loss': loss, 'time': time, 'epoch': epoch, 'iter': step, 'step': step}


def val_row(epoch, accuracy):
    return {'accuracy/top1': accuracy, 'data_time': 0.01, 'time': 0.02, 'step': epoch}


def write_run_log(work_dir, rows, *, timestamp='20250101_000000', config=None, tail=''):
    """One start of a run: <timestamp>/vis_data/scalars.json and config.py."""
    folder = work_dir / timestamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(json.dumps(row) + '\n' for row in rows) + tail)
    if config is not None:
        (folder / 'config.py').write_text(config)
    return work_dir


def history_data(groups=4, epochs=5, seed=0):
    """The content of a search_history.json."""
    rng = random.Random(seed)
    edges = edge_list(groups)
    alpha = [[0.0] * len(PRIMITIVES) for _ in edges]
    drift = [[rng.gauss(0, 0.15) for _ in PRIMITIVES] for _ in edges]
    records = []
    for epoch in range(1, epochs + 1):
        alpha = [[a + d + rng.gauss(0, 0.05) for a, d in zip(*pair)] for pair in zip(alpha, drift)]
        rows = [[] for _ in range(groups)]
        for (_, target), row in zip(edges, alpha):
            rows[target].append(PRIMITIVES[max(range(1, len(PRIMITIVES)), key=row.__getitem__)])
        records.append({'epoch': epoch, 'alpha': alpha, 'entropy': [], 'genotype': rows})
    return {
        'format': 'mmhoga.search_history',
        'version': 1,
        'num_groups': groups,
        'primitives': list(PRIMITIVES),
        'epochs': records,
    }


@pytest.fixture
def write_log():
    return write_run_log


@pytest.fixture
def write_run(tmp_path):
    """write_run(name, seed, best): a whole training run of 6 epochs of 4 steps."""

    def write(name='run', seed=0, best=97.0, epochs=6):
        rng = random.Random(f'{name} {seed}')
        rows = []
        for epoch in range(1, epochs + 1):
            steps = range(4 * epoch - 3, 4 * epoch + 1)
            rows += [
                train_row(s, epoch, 2.3 * math.exp(-s / 8) + 0.05 * rng.random(), 0.04 + 0.01 * (epoch == 1))
                for s in steps
            ]
            rows.append(val_row(epoch, best - 30 * math.exp(-epoch) + rng.random()))
        return write_run_log(tmp_path / name / f'seed{seed}', rows, config=CONFIG.format(seed=seed))

    return write


@pytest.fixture
def search_dir(write_run):
    """The work_dir of a finished search."""
    folder = write_run('search', 0, 90.0)
    data = history_data()
    (folder / 'search_history.json').write_text(json.dumps(data))
    genotype = {
        'format': 'mmhoga.genotype',
        'version': 1,
        'num_groups': 4,
        'edges': data['epochs'][-1]['genotype'],
        'meta': {'seed': 0, 'epoch': 5},
    }
    (folder / 'genotype.json').write_text(json.dumps(genotype))
    return folder
