"""Checks of weights before the first step: they are numbers, and they are those of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmhoga.hosts import LaunchError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def not_numbers(weights: Mapping[Any, Any]) -> str | None:
    """A sentence about the tensors that hold NaN or infinity; None if there are none.

    Minus infinity is allowed: masks of attention have it.
    """
    tensors = {str(name): value for name, value in weights.items() if _has_values(value)}
    bad = [name for name, value in tensors.items() if bool((value.isnan() | value.isposinf()).any())]
    if not bad:
        return None
    return (
        f'{len(bad)} of {len(tensors)} weights are not numbers (NaN or infinite); the first is {bad[0]}. The training '
        'that wrote them diverged: use an earlier checkpoint.'
    )


class WeightsHook(Hook):
    """Refuses weights that are not numbers, and a checkpoint of another network.

    A resumed training needs every weight of its network. A test, or a training that starts from weights, needs at least
    one; mmengine logs the others. Without this check a test measures a network with random weights.
    """

    priority = 'LOWEST'  # after the hooks that check whether the run can be resumed at all

    def __init__(self) -> None:
        self._handle: Any = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        weights = checkpoint.get('state_dict', checkpoint)
        if not isinstance(weights, Mapping) or not weights:
            raise LaunchError(f'{runner._load_from} has no weights: its "state_dict" is empty or not a dict.')
        if problem := not_numbers(weights):
            raise LaunchError(f'{runner._load_from}: {problem}')
        network = inner_model(runner.model)
        own = {key: value.shape for key, value in network.state_dict().items()}
        given = {key: value.shape for key, value in weights.items() if isinstance(value, Tensor)}
        differing = [key for key, shape in own.items() if given.get(key, shape) != shape]

        def check(_: nn.Module, incompatible: Any) -> None:
            lacking = _relevant([*incompatible.missing_keys, *differing])
            fits_nowhere = len(lacking) >= len(_relevant(own))
            if fits_nowhere or (runner._resume and lacking):
                remedy = '' if fits_nowhere else ' To start from the weights that fit, use load_from.'
                raise LaunchError(
                    f'{runner._load_from} is of another network: it lacks {len(lacking)} of the {len(_relevant(own))} '
                    f'weights, or has them in another shape; the first is {lacking[0]}.{remedy}'
                )

        self._handle = network.register_load_state_dict_post_hook(check)  # mmengine loads next

    def before_train(self, runner: Runner) -> None:
        self._check(runner)

    def before_val(self, runner: Runner) -> None:
        self._check(runner)

    def before_test(self, runner: Runner) -> None:
        self._check(runner)

    def _check(self, runner: Runner) -> None:
        """Check the weights that the run starts with, which may also come from ``init_cfg``."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if runner.iter == 0 and (problem := not_numbers(inner_model(runner.model).state_dict())):
            raise LaunchError(f'the network cannot be used as it is initialised: {problem}')


def inner_model(model: Any) -> nn.Module:
    """The network in wrappers for several processes and for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _has_values(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dtype in FLOATS
        and value.layout is torch.strided
        and value.device.type != 'meta'
    )


def _relevant(keys: Iterable[str]) -> list[str]:
    return [key for key in keys if not key.endswith('num_batches_tracked')]  # as mmengine
