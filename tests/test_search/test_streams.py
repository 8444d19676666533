import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Sampler

from mmhoga.search.resume.state import BatchStream, SearchError, rng_state, set_rng_state


class Noisy(Dataset):
    """Items are an index and a random number of each generator."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def stream(samples=10, workers=0, sampler=DefaultSampler, name='trainA', **kwargs):
    dataset = Noisy(samples)
    own = dict(seed=0) if sampler is DefaultSampler else {}
    loader = DataLoader(dataset, 4, sampler=sampler(dataset, **own), num_workers=workers)
    return BatchStream(loader, name, **{'seed': 0, 'epochs': 3, **kwargs})


FIVE = dict(length=5)


def batches(of, *start):
    return [torch.stack([part.double() for part in batch], dim=1) for batch in of.start(*start)]


@pytest.mark.parametrize('sampler', [DefaultSampler, RandomSampler])
@pytest.mark.parametrize('workers', [0, 1, 2])
def test_batches_follow_from_the_position(workers, sampler):
    """Order and augmentation are independent of workers and earlier batches, with and without ``set_epoch``."""
    whole = batches(stream(sampler=sampler))
    assert len(whole) == 9
    torch.manual_seed(5)  # other draws do not matter
    for epoch, position in ((0, 0), (1, 2), (2, 0)):
        rest = batches(stream(workers=workers, sampler=sampler), epoch, position)
        assert len(rest) == len(whole) - 3 * epoch - position
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[3 * epoch + position :]))


def test_batches_differ():
    """Order and augmentation differ between epochs, batches, streams and seeds."""
    whole = torch.cat(batches(stream()))
    assert len(whole[:, 1:].unique(dim=0)) == 30
    for other in (stream(name='trainB'), stream(seed=1)):
        assert not torch.equal(torch.cat(batches(other))[:, 1:], whole[:, 1:])


def test_an_epoch_covers_the_data():
    whole = batches(stream())
    for epoch in range(3):
        assert sorted(torch.cat(whole[3 * epoch : 3 * epoch + 3])[:, 0].tolist()) == list(range(10))


def test_a_short_stream_starts_again():
    """Two batches per pass and five per epoch: each pass covers the data, in another order."""
    joined = batches(stream(8, epochs=1), 0, 0) + batches(stream(8, epochs=1, **FIVE), 0, 2)
    whole = batches(stream(8, epochs=1, **FIVE))
    assert len(whole) == 5
    assert all(torch.equal(a, b) for a, b in zip(joined, whole))
    for i in (0, 2):
        assert sorted(torch.cat(whole[i : i + 2])[:, 0].tolist()) == list(range(8))
    assert not torch.equal(whole[0], whole[2])


def test_the_generators_of_the_main_process_are_unchanged():
    def draws():
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = draws()
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    batches(stream())
    assert draws() == expected


def test_workers_exit_only_on_the_sigterm_of_their_process():
    """They ignore a SIGTERM from another process, here a child."""
    running = stream(100, workers=1, epochs=1).start()
    first = next(running)
    worker = running._workers[0]
    child = os.fork()
    if not child:
        os.kill(worker.pid, signal.SIGTERM)
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.2)
    assert worker.is_alive() and len(first) == 4
    assert len(list(running)) == 24
    worker.terminate()
    worker.join(10)
    assert not worker.is_alive()


def test_data_sets_without_indices():
    class Endless(IterableDataset):
        def __iter__(self):
            yield 1

    for loader in (DataLoader(Noisy(3), batch_size=None), DataLoader(Endless(), batch_size=None)):
        with pytest.raises(TypeError, match='needs batches of indices'):
            BatchStream(loader, 'trainA', seed=0, epochs=1, length=1)


@pytest.mark.parametrize('position', [-1, 625])
def test_a_position_beyond_the_state_of_numpys_generator_is_refused(position):
    state = rng_state()
    name, keys, _, *rest = state['numpy']
    with pytest.raises(ValueError, match=f'position {position}, not one of 0 to 624'):
        set_rng_state({**state, 'numpy': (name, keys, position, *rest)})
    set_rng_state(state)


class Fixed(Sampler):
    """Yields ``given`` samples, where its length is that of the data set."""

    given = 0

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return iter(index % len(self.dataset) for index in range(self.given))

    def __len__(self):
        return len(self.dataset)


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(
    ('sampler', 'message'),
    [
        (InfiniteSampler, 'trainA gives more than the 3 batches that it should have, by its sampler InfiniteSampler'),
        (type('Long', (Fixed,), {'given': 13}), 'more than the 3 batches .* by its sampler Long. .*DefaultSampler'),
        (Fixed, 'trainA gives no batch, by its sampler Fixed'),
    ],
)
def test_samplers_without_an_end_or_without_a_batch_are_refused(sampler, message, workers):
    """Before, the second pass of an InfiniteSampler was empty, and the stream looked for a batch for ever."""
    with pytest.raises(SearchError, match=message):
        batches(stream(sampler=sampler, workers=workers))


def test_a_sampler_with_fewer_batches_than_its_length_starts_again():
    whole = batches(stream(sampler=type('Short', (Fixed,), {'given': 5}), epochs=2))
    assert [len(batch) for batch in whole] == [4, 1, 4] * 2


class TestAChangedDataSet:
    """``Noisy`` with an offset that a hook changes at an epoch."""

    class Switched(Noisy):
        offset = 0

        def __getitem__(self, index):
            return torch.tensor([index + self.offset, *super().__getitem__(index)[1:]])

    def epochs(self, workers, start=0, switch=1):
        dataset = self.Switched(10)
        loader = DataLoader(dataset, 4, sampler=DefaultSampler(dataset, seed=0), num_workers=workers)
        running = BatchStream(loader, 'trainA', seed=0, epochs=3)
        result, processes = [], []
        for epoch in range(start, 3):
            if epoch >= switch:
                dataset.offset = 100
            result.append(torch.cat(list(running.epoch(epoch))))
            processes.append([worker.pid for worker in running._running._workers] if workers else [])
        running.close()
        return result, processes

    def test_reaches_the_workers_at_the_next_epoch(self):
        whole, _ = self.epochs(workers=0)
        assert [bool((epoch[:, 0] >= 100).all()) for epoch in whole] == [False, True, True]
        with_workers, processes = self.epochs(workers=1)
        assert all(torch.equal(a, b) for a, b in zip(whole, with_workers))
        assert processes[0] != processes[1] == processes[2], 'the workers start again once'

    def test_is_resumed_exactly(self):
        whole, _ = self.epochs(workers=0)
        for start in (1, 2):
            rest, _ = self.epochs(workers=1, start=start)
            assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:]))

    def test_workers_keep_running_without_a_change(self):
        _, processes = self.epochs(workers=1, switch=9)
        assert processes[0] == processes[1] == processes[2]


def test_an_epoch_starts_at_a_position():
    whole = batches(stream())
    running = stream(workers=1)
    rest = [*running.epoch(1, 2), *running.epoch(2)]
    assert all(torch.equal(torch.stack([p.double() for p in a], 1), b) for a, b in zip(rest, whole[5:]))
    assert len(rest) == 4
