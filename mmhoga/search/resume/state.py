"""The state from which a search continues exactly, and data streams that start at any batch."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, count, islice
from typing import Any, Callable

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mmhoga.search.loaders import random_splits
from mmhoga.search.model import unwrapped
from mmhoga.search.resume.changes import Fingerprint
from mmhoga.search.resume.hooks import hook_states

SEED = 'seed (randomness.seed)'


class SearchError(RuntimeError):
    """A search cannot start or continue; the message says why, and what to do."""


def process_state(runner: Runner) -> dict[str, Any]:
    """The state that differs between processes: random generators, accumulated gradients before their average, hooks.

    Except in the first process, whose model and logs mmengine saves, also batch norm's statistics and the logs.
    """
    model = unwrapped(runner.model)
    state: dict[str, Any] = {
        'rng': rng_state(),
        'gradients': {n: p.grad.detach().cpu() for n, p in model.named_parameters() if p.grad is not None},
        'hooks': hook_states(runner),
    }
    accelerator = _accelerator()
    if accelerator is not None:
        state['rng']['accelerator'] = accelerator.get_rng_state_all()
    if get_rank():
        state['buffers'] = {n: b.detach().cpu() for n, b in model.named_buffers()}
        state['message_hub'] = runner.message_hub.state_dict()
    return state


def set_process_state(runner: Runner, state: dict[str, Any]) -> None:
    """Restore a :func:`process_state`, except the hooks, whose state was restored when the checkpoint was loaded."""
    model = unwrapped(runner.model)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for name, gradient in state['gradients'].items():
        parameters[name].grad = gradient.to(parameters[name].device)
    for name, buffer in state.get('buffers', {}).items():
        buffers[name].copy_(buffer)
    if 'message_hub' in state:
        runner.message_hub.load_state_dict(state['message_hub'])
    accelerator = _accelerator()
    if accelerator is not None and 'accelerator' in state['rng']:
        accelerator.set_rng_state_all([each.cpu() for each in state['rng']['accelerator']])
    set_rng_state(state['rng'])


def identity(runner: Runner) -> dict[str, Any]:
    """The settings that must not change between a checkpoint and the run that resumes from it."""
    model, loop = unwrapped(runner.model), runner.train_loop
    alphas = {id(alpha) for alpha in model.alphas}
    parameters = list(model.named_parameters())
    return {
        'K (num_groups)': model.num_groups,
        'primitives': list(model.primitives),
        'alpha': {name: list(p.shape) for name, p in parameters if id(p) in alphas},
        'number of weights': sum(p.numel() for _, p in parameters if id(p) not in alphas),
        'samples in trainA': len(loop.dataloader.dataset),
        'samples in trainB': len(loop.alpha_dataloader.dataset),
        'split (train_cfg.split)': loop.split,
        'split of trainA': random_splits(runner.cfg.get('train_dataloader')),
        'split of trainB': random_splits((runner.cfg.get('train_cfg') or {}).get('alpha_dataloader')),
        SEED: (runner.cfg.get('randomness') or {}).get('seed'),
    }


def _accelerator() -> Any:
    """``torch.cuda`` or its equivalent for the accelerator that mmengine trains on; None on a CPU."""
    module = getattr(torch, get_device(), None)
    return module if hasattr(module, 'get_rng_state_all') else None


class BatchStream:
    """The batches of a data loader over all epochs, from any position.

    The loader's samplers determine the order of an epoch, after ``set_epoch``. Random numbers drawn while a batch is
    loaded (by augmentation, or by a sampler without ``set_epoch``) are seeded with the run's seed, the stream's name,
    the rank, the epoch and the number of the batch, so they depend neither on the number of workers nor on earlier
    batches. (mmengine seeds each worker once, when it starts.) Workers start once and load across epochs, until the
    data set changes in the main process.

    Args:
        loader: of a map-style data set; only its settings are used.
        name: part of the seeds, so that two streams draw different random numbers.
        seed: of the run.
        epochs: number of epochs in the stream.
        length: batches per epoch; by default the loader's own. A loader with fewer batches is reshuffled and continues.

    Raises:
        TypeError: the loader has no batches of indices.
        SearchError: from the iterators, if the sampler gives no batch, or more than its length.
    """

    def __init__(self, loader: DataLoader, name: str, *, seed: int, epochs: int, length: int | None = None) -> None:
        if loader.batch_sampler is None:
            raise TypeError(
                f'{name}: a search needs batches of indices, but this loader of {type(loader.dataset).__name__} has '
                'none. Use a map-style data set and a batch size.'
            )
        self.loader = loader
        self.name = name
        self.key = f'{seed}/{name}/{get_rank()}'
        self.epochs = epochs
        self.length = len(loader) if length is None else length
        self._running: Iterator[Any] | None = None
        self._sent: Fingerprint | None = None  # the data set as the workers have it

    def epoch(self, epoch: int, position: int = 0) -> Iterator[Any]:
        """The rest of an epoch from batch number ``position``; to be called for each epoch in turn.

        Workers have a copy of the data set from their start. If it has changed, as mmdet's PipelineSwitchHook does at
        the beginning of an epoch, they start again.
        """
        now = Fingerprint(self.loader.dataset) if self.loader.num_workers else None
        if self._running is not None and now != self._sent:
            print_log(f'The data set of {self.name} has changed: its workers start again.', 'current')
            self._running = None
        if self._running is None:
            self._running, self._sent = self.start(epoch, position), now
        return islice(self._running, self.length - position)

    def close(self) -> None:
        """End the workers of :meth:`epoch`."""
        self._running = None

    def start(self, epoch: int = 0, position: int = 0) -> Iterator[Any]:
        """Iterate from batch number ``position`` of ``epoch`` to the end of the stream."""
        loader = self.loader
        batches = chain.from_iterable(map(self.order, range(epoch, self.epochs)))
        stream = DataLoader(
            _Batches(loader.dataset, loader.collate_fn),
            batch_size=None,
            sampler=islice(batches, position, None),
            num_workers=loader.num_workers,
            collate_fn=_unchanged,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=partial(_init_worker, loader.worker_init_fn),
            multiprocessing_context=loader.multiprocessing_context,
            generator=torch.Generator(),  # leave the default generator to the model
            prefetch_factor=loader.prefetch_factor,
        )
        return iter(stream)

    def order(self, epoch: int) -> Iterator[tuple[int, list[int]]]:
        """``(seed, indices)`` of each batch of an epoch."""
        passes = chain.from_iterable(self._one_pass(epoch + i * self.epochs) for i in count())
        for position, indices in enumerate(islice(passes, self.length)):
            yield self._seed(epoch, position), indices

    def _one_pass(self, epoch: int) -> list[list[int]]:
        loader: Any = self.loader
        for sampler in (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, 'sampler', loader.sampler)):
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
        length = len(loader)
        with seeded(self._seed(epoch, 'order')):
            batches = list(islice(loader.batch_sampler, length + 1))
        if not batches or len(batches) > length:
            kind = type(getattr(loader.batch_sampler, 'sampler', loader.batch_sampler)).__name__
            found = 'no batch' if not batches else f'more than the {length} batches that it should have'
            raise SearchError(
                f'a pass over {self.name} gives {found}, by its sampler {kind}. A search counts epochs, so use a '
                "sampler with an end: sampler=dict(type='DefaultSampler', shuffle=True)."
            )
        return batches

    def _seed(self, epoch: int, part: object) -> int:
        digest = hashlib.blake2b(f'{self.key}/{epoch}/{part}'.encode(), digest_size=4).digest()
        return int.from_bytes(digest, 'big')  # numpy takes at most 32 bits


def rng_state() -> dict[str, Any]:
    """The states of the CPU generators, in types that ``torch.load(weights_only=True)`` reads."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 (the hosts draw from the global generator)
    return {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        'torch': torch.get_rng_state(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore an :func:`rng_state`, also one that was loaded to an accelerator."""
    version, words, gauss = state['python']
    random.setstate((version, tuple(words), gauss))
    name, keys, position, *rest = state['numpy']
    if not 0 <= position <= 624:  # numpy does not check it, and reads beyond its state
        raise ValueError(f"the state of numpy's generator has the position {position}, not one of 0 to 624")
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, *rest))  # noqa: NPY002
    torch.set_rng_state(state['torch'].cpu())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of :func:`rng_state` inside the context, and restore their states after it."""
    before = rng_state()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
    try:
        yield
    finally:
        set_rng_state(before)


class _Batches(Dataset):
    """A data set whose items are the batches of another data set."""

    def __init__(self, dataset: Dataset, collate: Callable[[list], Any]) -> None:
        self.dataset, self.collate = dataset, collate

    def __getitem__(self, item: tuple[int, list[int]]) -> Any:
        seed, indices = item
        with seeded(seed):
            return self.collate([self.dataset[index] for index in indices])


def _init_worker(init: Callable[[int], None] | None, worker: int) -> None:
    """Make a worker ignore SIGTERM unless its main process sends it, and call the worker_init_fn of the config.

    Slurm sends SIGTERM to every process. A worker that ended then would raise an error in the main process before that
    one has saved.
    """
    if hasattr(signal, 'sigwaitinfo'):  # Linux
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_exit_on_sigterm_from, args=(os.getppid(),), daemon=True).start()
    if init is not None:
        init(worker)


def _exit_on_sigterm_from(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


def _unchanged(batch: Any) -> Any:
    return batch
