"""Batches as a function of seed, epoch and position: what a search that is resumed anywhere can rely on."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count, islice
from typing import Any, Callable

import numpy as np
import torch
from mmengine.dist import get_rank
from torch.utils.data import DataLoader, Dataset, Sampler


class BatchStream:
    """The batches of a data loader, epoch after epoch, from any position on.

    The order of an epoch is what the loader's samplers give after ``set_epoch``. Whatever is random while a batch is
    loaded (augmentation, and a sampler without ``set_epoch``) is seeded by the run's seed, the stream's name, the rank,
    the epoch and the number of the batch: it depends neither on the number of workers nor on what was loaded before.
    (mmengine seeds each worker once, when it starts.) Workers start once, and load on across the ends of epochs.

    Args:
        loader: of a map-style data set; it is not iterated itself.
        name: tells this stream's random numbers from another's.
        seed: of the run.
        length: batches an epoch; by default the loader's own. If the loader has fewer, it is shuffled anew and goes on.
        epochs: where the stream ends.

    Raises:
        TypeError: a loader without batches of indices.
    """

    def __init__(self, loader: DataLoader, name: str, *, seed: int, epochs: int, length: int | None = None) -> None:
        if loader.batch_sampler is None:
            raise TypeError(
                f'{name}: a search draws batches of indices from its data sets; {type(loader.dataset).__name__} in a '
                'loader without a batch size, or an iterable data set, has none.'
            )
        self.loader = loader
        self.key = f'{seed}/{name}/{get_rank()}'
        self.epochs = epochs
        self.length = len(loader) if length is None else length

    def start(self, epoch: int = 0, position: int = 0) -> Iterator[Any]:
        """The batches from number ``position`` of ``epoch`` on."""
        loader = self.loader
        kwargs: dict[str, Any] = {}
        if loader.num_workers:
            kwargs['prefetch_factor'] = loader.prefetch_factor
        return iter(
            DataLoader(
                _Batches(loader.dataset, loader.collate_fn),
                batch_size=None,
                sampler=_From(self, epoch, position),
                num_workers=loader.num_workers,
                collate_fn=_as_it_is,
                pin_memory=loader.pin_memory,
                timeout=loader.timeout,
                worker_init_fn=_Worker(loader.worker_init_fn),
                multiprocessing_context=loader.multiprocessing_context,
                generator=torch.Generator(),  # the default one is the model's
                **kwargs,
            )
        )

    def order(self, epoch: int) -> Iterator[tuple[int, list[int]]]:
        """``(seed, indices)`` of each batch of an epoch."""
        passes = chain.from_iterable(self._one_pass(epoch + i * self.epochs) for i in count())
        for position, indices in enumerate(islice(passes, self.length)):
            yield self._seed(epoch, position), indices

    def _one_pass(self, epoch: int) -> list[list[int]]:
        batch_sampler: Any = self.loader.batch_sampler
        samplers: list[Any] = [self.loader.sampler, batch_sampler, getattr(batch_sampler, 'sampler', None)]
        for sampler in samplers:
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
        with seeded(self._seed(epoch, 'order')):
            return list(islice(batch_sampler, len(self.loader)))

    def _seed(self, epoch: int, what: object) -> int:
        digest = hashlib.blake2b(f'{self.key}/{epoch}/{what}'.encode(), digest_size=4).digest()
        return int.from_bytes(digest, 'big')  # 32 bits are all that numpy takes


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, Python's, numpy's and torch's (CPU) random numbers follow from ``seed``; after, they go on as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (the hosts draw from it)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


class _Batches(Dataset):
    """A data set whose items are the batches of another."""

    def __init__(self, dataset: Dataset, collate: Callable[[list], Any]) -> None:
        self.dataset, self.collate = dataset, collate

    def __getitem__(self, item: tuple[int, list[int]]) -> Any:
        seed, indices = item
        with seeded(seed):
            return self.collate([self.dataset[index] for index in indices])


class _From(Sampler):
    def __init__(self, stream: BatchStream, epoch: int, position: int) -> None:
        self.stream, self.epoch, self.position = stream, epoch, position

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        orders = chain.from_iterable(self.stream.order(epoch) for epoch in range(self.epoch, self.stream.epochs))
        return islice(orders, self.position, None)


class _Worker:
    """Starts a worker. A SIGTERM that Slurm sends to every process is the main process's business: only if that one
    sends it, the worker ends. (Torch's workers end at any, and raise in the middle of the main process's work.)"""

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self.init = init

    def __call__(self, worker: int) -> None:
        if hasattr(signal, 'sigwaitinfo'):  # Linux
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()
        if self.init is not None:
            self.init(worker)


def _end_when_told_by(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


def _as_it_is(batch: Any) -> Any:
    return batch
