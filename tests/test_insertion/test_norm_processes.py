"""Two processes that train together, compared with one process on the batches of both."""

import importlib.util
from pathlib import Path

import pytest
import torch
from processes import in_two_processes

from mmhoga.insertion import estimate_norms

SCRIPT = Path(__file__).with_name('two_processes_estimate_norms.py')
spec = importlib.util.spec_from_file_location('two_processes_insertion', SCRIPT)
two_processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(two_processes)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('processes')
    in_two_processes(SCRIPT, folder, PYTHONPATH=str(SCRIPT.parent.parent.parent))
    return folder


@pytest.fixture(scope='module')
def results(folder):
    return [torch.load(folder / f'rank{rank}.pth') for rank in (0, 1)]


def expected(batches):
    network = two_processes.network()
    estimate_norms(network, batches)
    return two_processes.statistics(network)


def test_the_statistics_are_those_of_all_batches(results):
    """The batches are those of the first epoch, which the training then sees."""
    batches = [batch for rank in results for batch in rank['batches']]
    assert [batch.shape[0] for batch in batches] == [4] * 6
    assert len({image.sum().item() for batch in batches for image in batch}) == 24
    for rank in results:
        torch.testing.assert_close(rank['statistics'], expected(batches), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(*pair) for pair in zip(*(rank['statistics'] for rank in results)))


def test_every_batch_counts_equally(results):
    first, second = (rank['batches'] for rank in results)
    for rank in results:
        assert rank['count'] == 3
        torch.testing.assert_close(rank['uneven'], expected([*first[:2], second[0]]), rtol=1e-5, atol=1e-6)


def test_one_adapter_is_saved(folder, results):
    assert [path.name for path in (folder / 'run').glob('adapter*')] == ['adapter_epoch_1.safetensors']
