"""Seconds a training step, measured by turns, so that what slows the machine down slows every network alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner


def step_times(configs: Mapping[str, str | os.PathLike], *, rounds: int = 15, warmup: int = 3) -> dict[str, float]:
    """Median seconds of one training step (forward, backward, update) of each config's model, on the CPU.

    Every network steps on one batch of its own training data, which is loaded before the clock starts; the networks
    take turns.

    Args:
        configs: by name; any host's.
        rounds: how many steps of each are counted.
        warmup: how many steps of each go before.
    """
    steps = {name: _training_step(Config.fromfile(config)) for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(warmup + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[warmup:]) for name, times in seconds.items()}


def _training_step(cfg: Config) -> Callable[[], Any]:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        if cfg.get('data_preprocessor'):
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(cfg.model).train()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        loader = {**cfg.train_dataloader, 'num_workers': 0, 'persistent_workers': False}
        batch = next(iter(Runner.build_dataloader(loader, seed=0)))
    return lambda: model.train_step(batch, optim_wrapper)
