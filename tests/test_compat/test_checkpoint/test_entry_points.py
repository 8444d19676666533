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


@pytest.fixture(scope='module', params=VISUALIZERS)
def training(request, things, tmp_path_factory):  # noqa: F811
    """(host, config, checkpoint) of a training of one epoch. Beside the checkpoint are its weights alone."""
    host = request.param
    pytest.importorskip(host)
    folder = tmp_path_factory.mktemp(host)
    config = host_config(host, things).replace('max_epochs=2', 'max_epochs=1')
    config += f"visualizer = dict(type='{VISUALIZERS[host]}')\n"  # the inferencers need these
    config += "data_mode, dataset_type = 'topdown', 'CocoDataset'\n" if host == 'mmpose' else ''
    (folder / 'toy.py').write_text(config)
    assert train_main([str(folder / 'toy.py'), '--work-dir', str(folder / 'run')]) == 0
    path = folder / 'run' / 'epoch_1.pth'
    torch.save(torch.load(path, weights_only=True)['state_dict'], path.with_name('weights.pth'))
    return host, folder / 'toy.py', path


def outcomes(host, *lists):
    """For each list of (entry point, config, checkpoint): request -> 'ok' or the error."""
    script, packages = ROOT / 'tests' / 'entry_points.py', sysconfig.get_path('purelib')
    command = [sys.executable, '-S', str(script), packages, host]
    text = json.dumps([[list(map(str, request)) for request in requests] for requests in lists])
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [dict(zip(*pair)) for pair in zip(lists, json.loads(result.stdout.splitlines()[-1]))]


def test_every_entry_point(training):
    """Our own checkpoints, and those of mmengine alone, with every attack in them."""
    host, config, ours = training
    content = read_checkpoint(ours)  # with its types: what mmengine alone would write
    content['meta']['attack'] = content['message_hub']['runtime_info']['attack'] = 'ATTACK'
    attack = b'](' + b''.join(hostile.RUNS.values()) + b'e'
    theirs = hostile.write(ours.with_name('theirs.pth'), attack, content=content)

    requests = [(entry, config, ours) for entry in ENTRY_POINTS[host]]
    requests += [(entry, config, theirs) for entry in ENTRY_POINTS[host] if 'test' not in entry]
    again = [(entry, config, theirs) for entry in FIRST_READ.intersection(ENTRY_POINTS[host])]
    without, with_mmhoga = outcomes(host, requests, again)
    for (entry, _, path), outcome in without.items():
        refused = entry in FIRST_READ and path == theirs  # by torch, as nothing has imported mmhoga
        assert ('Weights only load failed' in outcome) if refused else outcome == 'ok', (entry, path, outcome)
    assert set(with_mmhoga.values()) <= {'ok'} and len(with_mmhoga) == len(again)
