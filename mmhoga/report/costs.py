"""Costs of configs' models: parameters, multiply-accumulates, seconds per training step and per image.

For the times, networks take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmhoga.hosts import build_model, config_scope
from mmhoga.models.complexity import called_with_tensors_only, count
from mmhoga.models.hooks import undisturbed

Configs = Mapping[str, 'str | os.PathLike']


def network_complexity(config: str | os.PathLike, shape: Sequence[int] | None) -> tuple[int, int | None]:
    """(parameters, multiply-accumulates) of a config's model; the latter is None without a ``shape`` (C, H, W)."""
    model = build_model(Config.fromfile(config))
    if shape is None:
        return sum(parameter.numel() for parameter in model.parameters()), None
    cost = count(model, shape)
    return cost.params, cost.macs


def step_times(configs: Configs, *, rounds: int = 15, warmup: int = 3) -> dict[str, float]:
    """Median seconds of one training step (forward, backward, update) of each config's model, on the CPU.

    Every network trains on one batch of its own training data, which is loaded before the clock starts. ``rounds``
    steps of each are timed, after ``warmup`` others.
    """
    steps = {name: _training_step(Config.fromfile(config)) for name, config in configs.items()}
    return _by_turns(steps, rounds, warmup)


def image_times(configs: Configs, shape: Sequence[int], *, rounds: int = 25, warmup: int = 5) -> dict[str, float]:
    """Median seconds of a forward pass of one (C, H, W) image: eval mode, without post-processing, on the CPU.

    ``rounds`` images of each network are timed, after ``warmup`` others.
    """
    inputs = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    calls = {}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for name, config in configs.items():
            model = build_model(Config.fromfile(config))
            stack.enter_context(undisturbed(model))
            stack.enter_context(called_with_tensors_only(model, shape))
            calls[name] = partial(model, inputs)
        return _by_turns(calls, rounds, warmup)


def _by_turns(calls: Mapping[str, Callable[[], Any]], rounds: int, warmup: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(warmup + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[warmup:]) for name, times in seconds.items()}


def _training_step(cfg: Config) -> Callable[[], Any]:
    torch.manual_seed(0)
    model = build_model(cfg).train()
    with DefaultScope.overwrite_default_scope(config_scope(cfg)):
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        loader = {**cfg.train_dataloader, 'num_workers': 0, 'persistent_workers': False}
        batch = next(iter(Runner.build_dataloader(loader, seed=0)))
    train_step: Callable[..., Any] = model.train_step  # type: ignore[assignment]
    return partial(train_step, batch, optim_wrapper)
