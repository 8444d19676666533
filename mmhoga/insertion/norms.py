"""Estimation of the running statistics of inserted batch norms, which have never seen the features of the network."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.insertion.training import cells_of
from mmhoga.models import Attention
from mmhoga.models.hoga import GroupAttention
from mmhoga.models.hooks import undisturbed


def estimate_norms(
    network: nn.Module,
    batches: Iterable[Any],
    forward: Callable[[nn.Module, Any], Any] | None = None,
    norms: Sequence[_BatchNorm] | None = None,
) -> int:
    """Set the running statistics of the batch norms in the cells to their averages over some batches.

    The mean and the unbiased variance of each batch count equally (as in Wu and Johnson 2021, section 3). These batch
    norms normalise with the statistics of the batch, as in training; all other modules run in eval mode.
    Nothing else changes: modes, gradients, other buffers, random generators. With several processes, each takes its own
    batches and the averages are over all of them.

    >>> import mmhoga, torch
    >>> network = mmhoga.insert(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), dict(type='mmhoga.HOGA'), after='0')
    >>> mmhoga.insertion.estimate_norms(network, [torch.rand(4, 3, 16, 16) for _ in range(3)])
    3

    Args:
        network: with cells from :func:`mmhoga.insert`, or with HOGA or :class:`mmhoga.Attention` as plugins.
        batches: the inputs; each is used once.
        forward: ``forward(network, batch)`` runs the network; by default ``network(batch)``.
        norms: the batch norms to estimate, with running statistics; by default those in the cells.

    Returns:
        The number of batches, of all processes together. 0 if there is no batch norm; then nothing is run.

    Raises:
        ValueError: no batch, or statistics that are not finite. The statistics are then as before, as they are after
            an error of ``forward``.
    """
    norms = cell_norms(network) if norms is None else norms
    if not norms:
        return 0
    forward = forward or (lambda network, batch: network(batch))
    with _restored(network), undisturbed(network), torch.no_grad():
        for norm in norms:
            norm.training, norm.momentum = True, None  # the average of all batches since the reset
            norm.reset_running_stats()
        count = 0
        for batch in batches:
            forward(network, batch)
            count += 1
        estimated, total = _averages(norms, count)
    for norm, (mean, variance) in zip(norms, estimated):
        cast(Tensor, norm.running_mean).copy_(mean)
        cast(Tensor, norm.running_var).copy_(variance)
    return total


def cell_norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch norms with running statistics in the cells of a network, inserted ones and plugins."""
    inserted = set(cells_of(network).values())
    cells = [m for m in network.modules() if m in inserted or isinstance(m, (GroupAttention, Attention))]
    modules = dict.fromkeys(module for cell in cells for module in cell.modules())
    return [m for m in modules if isinstance(m, _BatchNorm) and m.running_mean is not None]


def _averages(norms: Sequence[_BatchNorm], count: int) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """Mean and variance per norm over the batches of all processes, and the number of these batches."""
    statistics = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]
    flat = torch.cat([cast(Tensor, tensor).cpu().double().flatten() for tensor in statistics]) * count
    summed = torch.cat((flat, flat.new_full((1,), count)))
    all_reduce(summed)
    total = int(summed[-1])
    if not total:
        raise ValueError(
            'There is no batch to estimate the statistics of the batch norms on. Give at least one batch; an iterator '
            'that was used before is empty.'
        )
    if not summed.isfinite().all():
        raise ValueError(
            f'The statistics of the batch norms over {total} batches are not finite. Look for NaN or infinite values '
            'in the images and in the weights of the network.'
        )
    sizes = [norm.num_features for norm in norms for _ in range(2)]
    means = iter((summed[:-1] / total).split(sizes))
    return list(zip(means, means)), total


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    """Restore buffers, the momentum of batch norms, and the random generators, also on errors."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    momenta = [(module, module.momentum) for module in network.modules() if isinstance(module, _BatchNorm)]
    device = next((p.device for p in network.parameters()), torch.device('cpu'))
    accelerator: Any = getattr(torch, device.type, None)  # torch.cuda or its equivalent
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    states = accelerator.get_rng_state_all() if hasattr(accelerator, 'get_rng_state_all') else None
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for norm, momentum in momenta:
            norm.momentum = momentum
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if states is not None:
            accelerator.set_rng_state_all(states)
