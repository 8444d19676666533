"""Two processes that search together, compared with one process on the joint batch."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
from processes import in_two_processes

SCRIPT = Path(__file__).with_name('two_processes.py')
spec = importlib.util.spec_from_file_location('two_processes', SCRIPT)
two_processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(two_processes)


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp('processes')
    root = SCRIPT.parent.parent.parent
    in_two_processes(SCRIPT, folder, PYTHONPATH=os.pathsep.join([str(root), str(root / 'tests')]))
    ranks = [torch.load(folder / f'rank{rank}.pth') for rank in (0, 1)]
    for method in ('score', 'perturbation'):
        genotype = json.loads((folder / method / 'genotype.json').read_text(encoding='utf-8'))
        ranks[0]['selected', method] = genotype['edges'], genotype['meta']['selection']['method']
    return ranks


def alone(tmp_path, step, data):
    return two_processes.gradient(*two_processes.build(two_processes.config(tmp_path / 'alone', **step)), data)


@pytest.mark.parametrize('name', [name for name in two_processes.STEPS if 'local' not in name])
def test_alphas_gradient_is_that_of_the_joint_batch(results, tmp_path, name):
    expected = alone(tmp_path, two_processes.STEPS[name], two_processes.batches())
    assert expected.abs().max() > 1e-4
    for rank in results:
        torch.testing.assert_close(rank[name]['gradient'], expected, rtol=0, atol=1e-6)
    assert torch.equal(results[0][name]['gradient'], results[1][name]['gradient'])


def test_a_local_unrolling_is_the_mean_over_processes(results, tmp_path):
    name = 'exact, local'
    own = []
    for rank in (0, 1):
        data = [two_processes.part(batch, rank) for batch in two_processes.batches()]
        own.append(alone(tmp_path / str(rank), two_processes.STEPS[name], data))
    assert not torch.allclose(*own, atol=1e-6)
    torch.testing.assert_close(results[0][name]['gradient'], sum(own) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', two_processes.STEPS)
def test_what_is_communicated(results, name):
    """A step on alpha reduces alpha's gradient once, and weight gradients only in a joint unrolling."""
    alpha = results[0][name]['gradient'].numel()
    weights = [results[0]['weights']] * 2 if 'joint' in name else []
    assert results[0][name]['reduced'] == [*weights, alpha]
    assert not results[0][name]['buckets'], "nothing through DistributedDataParallel's hooks"
    assert sum(results[0]['buckets of a step on the weights']) == results[0]['weights'], 'the hook counts'


def test_both_processes_learn_of_a_sigterm_that_one_received(results):
    assert [rank['stop'] for rank in results] == [[False, True], [False, True]]
    assert results[0]['reduced for the stop'] == [1]


def test_both_processes_leave_at_the_same_iteration_and_resume_exactly(results):
    """Only the second process receives SIGTERM, in the first of two iterations of an epoch."""
    for rank in results:
        assert rank['left with'] == (143, 1)
        torch.testing.assert_close(*rank['states'], rtol=0, atol=0)


def test_each_process_has_its_own_part_of_both_halves(results):
    for half in (0, 1):
        first, second = (set(rank['indices'][half]) for rank in results)
        assert not first & second
        assert first | second == set(range(24))


@pytest.mark.parametrize('method', ['score', 'perturbation'])
def test_both_processes_select_the_same_genotype(results, method):
    """Each evaluates it on its own parts of trainA and trainB; the first writes the files."""
    first, second = (rank['selected'][method] for rank in results)
    assert first == second
    assert results[0]['selected', method] == (first, method)


def test_processes_that_diverge_are_stopped(results):
    for rank in results:
        assert 'alpha differs between the processes at the end of epoch 3' in rank['divergence']
