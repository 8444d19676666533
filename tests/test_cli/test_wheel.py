"""The commands of an installed wheel, in an empty folder from which the checkout cannot be imported."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = 'hoga-resnet8_1xb96-8e_digits'


@pytest.fixture(scope='module')
def site_packages(tmp_path_factory):
    """The unpacked wheel."""
    source, built = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('built')
    for name in ('mmhoga', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    for path in ROOT.glob('*.*'):
        if path.is_file():
            shutil.copy(path, source)
    command = [sys.executable, 'setup.py', '-q', 'bdist_wheel', '-d', str(built)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = built.glob('*.whl')
    unpacked = tmp_path_factory.mktemp('site-packages')
    with zipfile.ZipFile(wheel) as file:
        file.extractall(unpacked)
    return unpacked


@pytest.fixture
def mmhoga(site_packages, tmp_path):
    """Run ``mmhoga`` from the wheel in an empty folder whose name has a blank and a comma."""
    folder = tmp_path / 'my runs, new'
    folder.mkdir()

    def run(*arguments):
        result = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'mmhoga', *map(str, arguments)],
            cwd=folder,
            env={**os.environ, 'PYTHONPATH': str(site_packages), 'CUDA_VISIBLE_DEVICES': '-1'},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
        return result.stdout

    run.folder = folder
    return run


def test_the_wheel_is_what_runs(mmhoga, site_packages):
    report = json.loads(mmhoga('doctor', '--json'))
    assert Path(report['package']) == site_packages / 'mmhoga'
    assert all(check['ok'] for check in report['checks'])


def test_train_and_test_by_name(mmhoga):
    mmhoga('train', CONFIG, '--work-dir', 'out', '--cfg-options', 'train_cfg.max_epochs=1')
    mmhoga('test', CONFIG, 'out/epoch_1.pth', '--out', 'metrics.json')
    assert 'accuracy/top1' in json.loads((mmhoga.folder / 'metrics.json').read_text())


@pytest.mark.timeout(1800)  # seven trainings and a report, for a busy machine
def test_demo(mmhoga):
    """From the search to the report. A second call repeats nothing."""
    arguments = ['demo', '--epochs', '1', '--seeds', '0', '--jobs', '1']
    lines = mmhoga(*arguments).splitlines()
    report = mmhoga.folder / 'work_dirs/demo/report.html'
    assert lines[-1] == f'The report: {report}'
    assert sum(line.startswith('training') for line in lines) == 5
    text = re.sub('<[^>]+>', '', report.read_text())
    assert 'HOGA (searched)' in text and 'could not be counted' not in text
    assert 'mmhoga train digits/resnet8_1xb96-8e_digits' in text
    again = mmhoga(*arguments)
    assert 'Kept from before: the search and 5 trainings' in again and '\ntraining' not in again


def test_random_search(mmhoga):
    out = mmhoga('random-search', f'{CONFIG}.py', '--trials', '2', '--cfg-options', 'train_cfg.max_epochs=1')
    assert '2 of 2 trials are done' in out
    trained = [mmhoga.folder / f'work_dirs/{CONFIG}_random/trial_00{i}' for i in range(2)]
    configs = [(folder / f'{CONFIG}.py').read_text() for folder in trained]
    assert all(f"genotype='{folder}/genotype.json'"[-30:] in text for folder, text in zip(trained, configs))


def test_make_data(mmhoga):
    out = mmhoga('make-data', 'shapes', '--train', '2', '--val', '1')
    assert 'wrote 2 + 1 pictures' in out
    assert len(list((mmhoga.folder / 'data/shapes/train').iterdir())) == 2
