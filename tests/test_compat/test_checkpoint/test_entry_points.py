"""Checkpoints load through every entry point of every host, in a process that has not imported mmhoga."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import hostile_checkpoints as hostile
import pytest
import torch
from entry_points import ENTRY_POINTS
from test_trained_hosts import host_config, things  # noqa: F401 (a fixture)

from mmhoga.cli.train import train_main
from mmhoga.compat.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[3]
VISUALIZERS = {'mmdet': 'DetLocalVisualizer', 'mmpose': 'PoseLocalVisualizer', 'mmpretrain': 'UniversalVisualizer'}
#: These read the checkpoint before they build the model, which imports mmhoga.
FIRST_READ = {'DetInferencer', 'MMPoseInferencer'}


@pytest.fixture(scope='module')
def trainings(things, tmp_path_factory):  # noqa: F811
    """Host -> (config, checkpoint) of a training of one epoch. Beside the checkpoint are its weights alone."""
    found = {}
    for host in VISUALIZERS:
        pytest.importorskip(host)
        folder = tmp_path_factory.mktemp(host)
        config = host_config(host, things).replace('max_epochs=2', 'max_epochs=1')
        config += f"visualizer = dict(type='{VISUALIZERS[host]}')\n"  # the inferencers need it, and the data_mode
        config += "data_mode = 'topdown'\n" if host == 'mmpose' else ''
        (folder / 'toy.py').write_text(config)
        assert train_main([str(folder / 'toy.py'), '--work-dir', str(folder / 'run')]) == 0
        path = folder / 'run' / 'epoch_1.pth'
        torch.save(torch.load(path, weights_only=True)['state_dict'], path.with_name('weights.pth'))
        found[host] = str(folder / 'toy.py'), path
    return found


def outcomes(requests, *options):
    """'ok' or the error of each request: (host, entry point, config, checkpoint)."""
    command = [sys.executable, '-S', str(ROOT / 'tests' / 'entry_points.py'), sysconfig.get_path('purelib'), *options]
    text = json.dumps([list(map(str, request)) for request in requests])
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return list(zip(requests, json.loads(result.stdout.splitlines()[-1])))


def test_every_entry_point(trainings):
    """Our own checkpoints, and those of mmengine alone, with every attack in them."""
    ours, theirs = [], []
    attack = b'](' + b''.join(hostile.RUNS.values()) + b'e'
    for host, (config, path) in trainings.items():
        content = read_checkpoint(path)  # with its types: what mmengine alone would write
        content['meta']['attack'] = content['message_hub']['runtime_info']['attack'] = 'ATTACK'
        hostile.write(path.with_name('theirs.pth'), attack, content=content)
        ours += [(host, entry, config, path) for entry in ENTRY_POINTS[host]]
        functions = [entry for entry in ENTRY_POINTS[host] if 'test' not in entry]
        theirs += [(host, entry, config, path.with_name('theirs.pth')) for entry in functions]
    for (host, entry, _, path), outcome in outcomes([*ours, *theirs]):
        refused = entry in FIRST_READ and path.name == 'theirs.pth'  # by torch, as nothing has imported mmhoga
        assert ('Weights only load failed' in outcome) if refused else outcome == 'ok', (host, entry, outcome)
    for request, outcome in outcomes([x for x in theirs if x[1] in FIRST_READ], '--import-mmhoga'):
        assert outcome == 'ok', (request, outcome)
