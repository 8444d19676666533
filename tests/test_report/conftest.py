"""Work directories of made-up runs."""

import json
import math
import random

import pytest
from made_up_runs import CONFIG, history_data, train_row, val_row, write_run_log


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
