"""Predictions from counts, to set beside the measurements. They are made without a GPU, on tensors without data.

Assumed: an eager call takes 5 us of the host, a kernel in a graph at least 2 us, and the memory of an H100 moves
3.35 TB/s. A prediction is the larger of the time for all calls and the time for all bytes. Operators are counted as one
kernel each, in float32; bytes are halved for training in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from on_gpu.networks import NETWORKS, inference
from on_gpu.results import Results
from search_step import Classifier, alpha_step, weight_step
from side_by_side import Calls
from textbook_modules import textbook

from mmhoga.backbones import ResNet
from mmhoga.models.supernet import share_alpha
from mmhoga.search import SearchModel

LAUNCH, KERNEL, BANDWIDTH = 5e-6, 2e-6, 3.35e12


def measure(results: Results) -> None:
    for task, batch, run, share in (
        ('inference', 1, inference, 1.0),
        ('inference', 32, inference, 1.0),
        ('training', 64, training, 0.5),
    ):
        base: tuple[float, float] | None = None
        for name, plugins in NETWORKS.items():
            with results.attempt(task=task, network=name):
                model = ResNet(50, plugins=plugins).to('meta').train(run is training)
                x = torch.empty(batch, 3, 224, 224, device='meta').contiguous(memory_format=torch.channels_last)
                base = add_row(results, f'{task}, batch {batch}', name, [partial(run, model, x)], share, base)
    base = None
    model = SearchModel(Classifier(20, 16, 4))
    with model.differentiating_alpha():
        old = textbook(model.architecture).to('meta')
    model = model.to('meta')
    model.alpha = share_alpha(model.architecture).requires_grad_(False)  # to('meta') makes one per cell
    batch = (torch.empty(128, 3, 32, 32, device='meta'), torch.empty(128, dtype=torch.int64, device='meta'))
    ours, theirs = [weight_step(model, batch), alpha_step(model, batch)], [weight_step(old, batch)] * 2
    for name, steps in (('textbook', theirs), ('ours', ours)):
        with results.attempt(task='search step, batch 128', network=name):
            base = add_row(results, 'search step, batch 128', name, steps, 1.0, base)


def add_row(
    results: Results,
    task: str,
    network: str,
    runs: list[Callable[[], Any]],
    share: float,
    base: tuple[float, float] | None,
) -> tuple[float, float]:
    """Add the row of a network; returns its predictions, in milliseconds, or those of the first network."""
    with Calls() as counter:
        for run in runs:
            run()
    moved = share * counter.bytes
    eager, graph = (1e3 * max(counter.count * launch, moved / BANDWIDTH) for launch in (LAUNCH, KERNEL))
    base = base or (eager, graph)
    row = dict(task=task, network=network, calls=counter.count, GB_moved=round(moved / 1e9, 2))
    row |= dict(eager_ms=round(eager, 1), ratio_eager=round(eager / base[0], 2))
    results.row(**row, graph_ms=round(graph, 1), ratio_graph=round(graph / base[1], 2))
    return base


def training(model: torch.nn.Module, x: torch.Tensor) -> None:
    """As in networks.py, in float32."""
    model.zero_grad(set_to_none=True)
    model(x)[-1].square().mean().backward()
