"""docs/examples/own_primitive: the search, then a training with the genotype that it derived."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from warm_python import warm_python

from mmhoga.genotype import Genotype, GenotypeError

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = 'docs/examples/own_primitive'


def mmhoga(*arguments):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(
        [warm_python(), '-W', 'ignore', '-m', 'mmhoga', *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_search_to_training(tmp_path):
    search, train = tmp_path / 'search', tmp_path / 'train'
    short = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=16', 'train_dataloader.dataset.indices=32']
    done = mmhoga(
        'train',
        f'{EXAMPLE}/search.py',
        '--work-dir',
        search,
        '--no-validate',
        '--cfg-options',
        short[0],
        'train_dataloader.dataset.indices=64',
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((search / 'genotype.json').read_text())
    assert data['meta']['primitives'][-1] == 'eca'
    data['edges'][3][0] = 'eca'  # so short a search may choose anything
    (search / 'genotype.json').write_text(json.dumps(data))
    with pytest.raises(GenotypeError, match=r"unknown operation 'eca'.*import the module that registers it first"):
        Genotype.load(search / 'genotype.json')

    genotype = f'model.backbone.plugins.0.cfg.genotype={search / "genotype.json"}'
    done = mmhoga(
        'train', f'{EXAMPLE}/train.py', '--work-dir', train, '--no-validate', '--cfg-options', *short, genotype
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (train / 'epoch_1.pth').exists() and 'loss: ' in done.stdout + done.stderr
    shown = mmhoga('genotype', '--import', EXAMPLE.replace('/', '.') + '.eca', 'show', search / 'genotype.json')
    assert 'eca(U0)' in shown.stdout, shown.stderr
