"""A check that alpha has stayed finite, without a read from the device in each iteration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmhoga.search.resume.state import SearchError


class FiniteWatch:
    """Accumulates on the device whether alpha has been finite after each iteration since the last :meth:`require`."""

    def __init__(self) -> None:
        self._first = 0  # number of the first iteration since the last check, counted from 1
        self._finite: Tensor | None = None  # so far, a bool of dimension 0
        self._count: Tensor  # iterations before the first bad one
        self._loss: Tensor  # of the first bad iteration

    def update(self, alphas: Sequence[Tensor], loss: Tensor, iteration: int) -> None:
        """Record alpha after an iteration, counted from 1, in which the loss on trainB was ``loss``."""
        loss = loss.detach().to(alphas[0].device, torch.float32)
        if self._finite is None:
            self._first = iteration
            self._finite = torch.ones((), dtype=torch.bool, device=loss.device)
            self._count = torch.zeros((), dtype=torch.int64, device=loss.device)
            self._loss = loss
        self._loss = torch.where(self._finite, loss, self._loss)
        for alpha in alphas:
            self._finite = self._finite & alpha.detach().isfinite().all()
        self._count = self._count + self._finite

    def require(self, epoch: int) -> None:
        """Wait for the device, and check every iteration since the last call.

        Args:
            epoch: the current one, counted from 1, for the message.

        Raises:
            SearchError: alpha is not finite since an iteration that the message names.
        """
        finite, self._finite = self._finite, None
        if finite is not None and not finite:
            self._finite = finite  # every later call fails, too
            raise SearchError(
                f'alpha is not finite after iteration {self._first + int(self._count)} (epoch {epoch}); the loss on '
                f'trainB was {float(self._loss):g}. The checkpoint and the genotype of the epoch before are unchanged. '
                'Lower the learning rates, or clip gradients (optim_wrapper.*.clip_grad).'
            )
