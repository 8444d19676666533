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
from warm_python import start_server

from mmhoga.cli.demo import search_job, training_jobs

ROOT = Path(__file__).resolve().parent.parent.parent


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


@pytest.fixture(scope='module')
def warm(site_packages):
    """A server that has imported the wheel."""
    return start_server(site_packages, hosts=['mmpretrain'])


@pytest.fixture
def mmhoga(site_packages, tmp_path, warm):
    """Run ``mmhoga`` from the wheel in an empty folder whose name has a blank and a comma."""
    folder = tmp_path / 'my runs, new'
    folder.mkdir()

    def run(*arguments, python=warm):
        result = subprocess.run(
            [python, '-W', 'ignore', '-m', 'mmhoga', *map(str, arguments)],
            cwd=folder,
            env={**os.environ, 'PYTHONPATH': str(site_packages), 'CUDA_VISIBLE_DEVICES': '-1', 'WARM_PYTHON': 'all'},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
        return result.stdout

    run.folder = folder
    return run


@pytest.mark.parametrize('start', ['cold', 'warm'])
def test_the_wheel_is_what_runs(mmhoga, site_packages, warm, start):
    report = json.loads(mmhoga('doctor', '--json', python=warm if start == 'warm' else sys.executable))
    assert Path(report['package']) == site_packages / 'mmhoga'
    assert all(check['ok'] for check in report['checks'])


@pytest.mark.timeout(1800)  # seven trainings and a report, for a busy machine
def test_demo(mmhoga):
    """From the search to the report. All jobs are done then, and a config found by name tests a checkpoint."""
    arguments = ['demo', '--epochs', '1', '--seeds', '0', '--jobs', '1']
    lines = mmhoga(*arguments).splitlines()
    report = mmhoga.folder / 'work_dirs/demo/report.html'
    assert lines[-1] == f'The report: {report}'
    assert sum(line.startswith('training') for line in lines) == 5
    text = re.sub('<[^>]+>', '', report.read_text())
    assert 'HOGA (searched)' in text and 'could not be counted' not in text
    assert 'mmhoga train digits/resnet8_1xb96-8e_digits' in text
    folder = mmhoga.folder / 'work_dirs/demo'
    trainings = [job for jobs in training_jobs(folder, [0], 1).values() for job in jobs]
    assert all(job.done() for job in (search_job(folder, 1), *trainings)), 'a second call would repeat nothing'
    mmhoga('test', 'resnet8_1xb96-8e_digits', 'work_dirs/demo/plain-seed0/epoch_1.pth', '--out', 'metrics.json')
    assert 'accuracy/top1' in json.loads((mmhoga.folder / 'metrics.json').read_text())


def test_make_data(mmhoga):
    out = mmhoga('make-data', 'shapes', '--train', '2', '--val', '1')
    assert 'wrote 2 + 1 pictures' in out
    assert len(list((mmhoga.folder / 'data/shapes/train').iterdir())) == 2
