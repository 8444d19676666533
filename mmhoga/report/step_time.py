"""Seconds per training step and per image. Networks take turns, so that a busy machine slows all of them alike."""

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
from torch import nn

from mmhoga.hosts import build_model, config_scope
from mmhoga.models.complexity import called_with_tensors_only
from mmhoga.models.hooks import undisturbed

Configs = Mapping[str, 'str | os.PathLike']


def step_times(configs: Configs, *, rounds: int = 15, warmup: int = 3) -> dict[str, float]:
    """Median seconds of one training step (forward, backward, update) of each config's model, on the CPU.

    Every network trains on one batch of its own training data, which is loaded before the clock starts.

    Args:
        configs: by name; any host's.
        rounds: timed steps of each.
        warmup: steps of each before these.
    """
    return _by_turns(
        {name: _training_step(Config.fromfile(config)) for name, config in configs.items()}, rounds, warmup
    )


def image_times(configs: Configs, shape: Sequence[int], *, rounds: int = 25, warmup: int = 5) -> dict[str, float]:
    """Median seconds of a forward pass of one image: eval mode, without post-processing, on the CPU.

    Args:
        configs: by name; any host's.
        shape: (C, H, W) of the input.
        rounds: timed images of each.
        warmup: images of each before these.
    """
    inputs = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    with ExitStack() as stack:
        models: dict[str, nn.Module] = {name: build_model(Config.fromfile(path)) for name, path in configs.items()}
        for model in models.values():
            stack.enter_context(undisturbed(model))
            stack.enter_context(called_with_tensors_only(model, shape))
        stack.enter_context(torch.no_grad())
        return _by_turns({name: partial(model, inputs) for name, model in models.items()}, rounds, warmup)


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
