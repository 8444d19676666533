"""The mix over the epochs of a search: warm-up, temperature, sampling."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from mmhoga.search.model import SearchModel

SCHEDULES = ('linear', 'exponential')
SAMPLINGS = ('softmax', 'gumbel')


class MixSchedule:
    """The settings of the mix, which follow from the number of the epoch alone, so that a search resumes exactly.

    Args:
        max_epochs: N, of the search.
        warmup_epochs: the first epochs train only the weights, and read no batch of trainB. Alpha, which favours
            candidates without weights as long as the others are untrained, starts after them (PC-DARTS, Xu et al.,
            "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search",
            https://arxiv.org/abs/1907.05737: 15 of 50 epochs).
        temperature: T of :class:`mmhoga.models.mixing.Mixing`: a number, or ``dict(start=10, end=0.1,
            schedule='linear')``. With t = e / (N - 1) in epoch e = 0, ..., N - 1::

                linear       T = start + (end - start) t
                exponential  T = start (end / start)^t

            Warm-up epochs count. GDAS (https://arxiv.org/abs/1910.04465) anneals linearly from 10 to 0.1.
        sampling: ``'softmax'``, the paper's mix, or ``'gumbel'``, that of GDAS.

    Raises:
        ValueError: a warm-up that leaves no epoch for alpha, a temperature that is not positive and finite, an unknown
            schedule or sampling.
    """

    def __init__(
        self,
        max_epochs: int,
        warmup_epochs: int = 0,
        temperature: float | Mapping[str, Any] = 1.0,
        sampling: str = 'softmax',
    ) -> None:
        if isinstance(warmup_epochs, bool) or not isinstance(warmup_epochs, int) or not 0 <= warmup_epochs < max_epochs:
            raise ValueError(
                f'train_cfg.warmup_epochs must be an integer from 0 to max_epochs - 1 = {max_epochs - 1}, not '
                f'{reprlib.repr(warmup_epochs)}: alpha is trained in the epochs that follow.'
            )
        if sampling not in SAMPLINGS:
            raise ValueError(f'train_cfg.sampling must be one of {SAMPLINGS}, not {reprlib.repr(sampling)}.')
        self.max_epochs = max_epochs
        self.warmup_epochs = warmup_epochs
        self.sampling = sampling
        self.start, self.end, self.schedule = _annealing(temperature)

    def temperature(self, epoch: int) -> float:
        """T in epoch ``epoch``, counted from 0."""
        t = min(1.0, epoch / max(1, self.max_epochs - 1))
        if self.schedule == 'linear':
            return self.start + (self.end - self.start) * t
        return self.start * (self.end / self.start) ** t

    def prepare(self, model: SearchModel) -> None:
        """Enable sampling, if set; once, before the first epoch."""
        if self.sampling == 'gumbel':
            for mixing, alpha in zip(model.mixings, model.named_alphas().values()):
                mixing.enable_sampling(alpha)

    def start_epoch(self, model: SearchModel, epoch: int) -> None:
        """Set T, in place: compiled cells are not compiled again, and no device has to wait."""
        for mixing in model.mixings:
            mixing.temperature.fill_(self.temperature(epoch))


def _annealing(temperature: Any) -> tuple[float, float, str]:
    settings = dict(temperature) if isinstance(temperature, Mapping) else {'start': temperature, 'end': temperature}
    schedule = settings.pop('schedule', 'linear')
    values = [settings.get('start'), settings.get('end')]
    if set(settings) != {'start', 'end'} or not all(_is_positive(value) for value in values):
        raise ValueError(
            'train_cfg.temperature must be a positive number, or dict(start=..., end=..., schedule=...) with two of '
            f'them, not {reprlib.repr(temperature)}.'
        )
    if schedule not in SCHEDULES:
        raise ValueError(f'train_cfg.temperature.schedule must be one of {SCHEDULES}, not {reprlib.repr(schedule)}.')
    return float(settings['start']), float(settings['end']), schedule


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
