"""Logged values that stay on the device until something reads them."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor


class DeferredHub(MessageHub):
    """A message hub that reads tensors when its scalars are read: for a line of the log, or at the end of an epoch.

    mmengine reads each loss after each iteration, so that a host waits for its accelerator once per value. Here the
    values of many iterations take one copy. They are the same, in the same order.
    """

    _pending: list[tuple[str, Tensor, int, bool]]

    @classmethod
    def install(cls, runner: Runner) -> None:
        """Convert the hub of a runner, which keeps what it holds. A class of a host or a user stays."""
        if type(runner.message_hub) is MessageHub:
            runner.message_hub.__class__ = cls
            runner.message_hub._pending = []

    def update_scalar(self, key: str, value: Any, count: int = 1, resumed: bool = True) -> None:
        """Keep the value of a tensor for later. The tensor may change after this call."""
        if isinstance(value, Tensor) and value.numel() == 1:
            self._pending.append((key, value.detach().clone().view(()), count, resumed))
            return
        if any(key == waiting for waiting, *_ in self._pending):
            self._read_pending()
        super().update_scalar(key, value, count, resumed)

    @property
    def log_scalars(self) -> Any:
        self._read_pending()
        return super().log_scalars

    def get_scalar(self, key: str) -> HistoryBuffer:
        self._read_pending()
        return super().get_scalar(key)

    def state_dict(self) -> dict[str, Any]:
        self._read_pending()
        return super().state_dict()

    def load_state_dict(self, state_dict: Any) -> None:
        self._read_pending()
        super().load_state_dict(state_dict)

    def _read_pending(self) -> None:
        pending, self._pending = self._pending, []
        values: list[Any] = [None] * len(pending)
        kinds = {(value.device, value.dtype) for _, value, _, _ in pending}
        for kind in kinds:
            where = [i for i, (_, value, _, _) in enumerate(pending) if (value.device, value.dtype) == kind]
            for i, value in zip(where, torch.stack([pending[i][1] for i in where]).tolist()):
                values[i] = value
        for (key, _, count, resumed), value in zip(pending, values):
            super().update_scalar(key, value, count, resumed)


def defer_gradient_norm(wrapper: OptimWrapper) -> None:
    """Make a wrapper log the norm of clipped gradients as a tensor. mmengine reads it in each iteration."""
    if not getattr(wrapper, 'clip_grad_kwargs', None):
        return
    clip = wrapper.clip_func

    def clip_and_log(*args: Any, **kwargs: Any) -> None:
        norm = clip(*args, **kwargs)  # None when values are clipped
        if norm is not None:
            wrapper.message_hub.update_scalar(f'train/{wrapper.grad_name}', norm)

    wrapper.clip_func = clip_and_log
