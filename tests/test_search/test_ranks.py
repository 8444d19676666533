"""Two processes that search together, against one with the joint batch."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('two_ranks.py')
spec = importlib.util.spec_from_file_location('two_ranks', SCRIPT)
two_ranks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(two_ranks)


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    root = SCRIPT.parent.parent.parent
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    shared = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='-1')
    path = os.pathsep.join([str(root), str(root / 'tests')])
    processes = [
        subprocess.Popen(
            [sys.executable, '-W', 'ignore', SCRIPT, folder],
            env={**os.environ, **shared, 'PYTHONPATH': path, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output
    return [torch.load(folder / f'rank{rank}.pth') for rank in (0, 1)]


def alone(tmp_path, step, data):
    return two_ranks.gradient(*two_ranks.build(two_ranks.config(tmp_path / 'alone', **step)), data)


@pytest.mark.parametrize('name', [name for name in two_ranks.STEPS if 'local' not in name])
def test_alphas_gradient_is_that_of_the_joint_batch(found, tmp_path, name):
    expected = alone(tmp_path, two_ranks.STEPS[name], two_ranks.batches())
    assert expected.abs().max() > 1e-4
    for rank in found:
        torch.testing.assert_close(rank[name]['gradient'], expected, rtol=0, atol=1e-6)
    assert torch.equal(found[0][name]['gradient'], found[1][name]['gradient'])


def test_a_local_unrolling_is_the_mean_of_each_ranks_own(found, tmp_path):
    name = 'exact, local'
    own = []
    for rank in (0, 1):
        data = [two_ranks.part(batch, rank) for batch in two_ranks.batches()]
        own.append(alone(tmp_path / str(rank), two_ranks.STEPS[name], data))
    assert not torch.allclose(*own, atol=1e-6)
    torch.testing.assert_close(found[0][name]['gradient'], sum(own) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', two_ranks.STEPS)
def test_what_is_communicated(found, name):
    """Alpha's gradient and one flag; and of the weights nothing, but in a joint unrolling."""
    alpha = found[0][name]['gradient'].numel() + 1
    weights = [found[0]['weights'] + 1] * 2 if 'joint' in name else []
    assert found[0][name]['reduced'] == [*weights, alpha]
    assert not found[0][name]['buckets'], "nothing through DistributedDataParallel's hooks"
    assert sum(found[0]['buckets of a step on the weights']) == found[0]['weights'], 'which do count'


def test_one_sigterm_stops_both(found):
    assert [rank['stop'] for rank in found] == [True, True]


def test_the_halves_are_shared_out(found):
    for half in (0, 1):
        first, second = (set(rank['indices'][half]) for rank in found)
        assert not first & second
        assert first | second == set(range(24))


def test_ranks_that_diverge_are_stopped(found):
    for rank in found:
        assert 'alpha differs between the ranks at the end of epoch 3' in rank['divergence']
