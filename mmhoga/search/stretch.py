"""The schedule of a training, stretched to the length of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stretch:
    """From the length of a training to that of a search.

    Args:
        epochs: of the search.
        before: epochs of the training.
        share: the number of iterations in an epoch of the search, as a share of those in an epoch of the training.
    """

    epochs: int
    before: int
    share: float

    def epoch(self, number: float) -> int:
        """The epoch of the search that corresponds to an epoch of the training, at least 1."""
        return max(1, round(number * self.epochs / self.before))

    def schedulers(self, schedulers: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
        """A config of ``param_scheduler`` with its begins, ends, periods and milestones stretched.

        They count epochs with ``by_epoch=True``, the default, otherwise iterations.
        """
        if not schedulers:
            return []
        each = [schedulers] if isinstance(schedulers, Mapping) else schedulers
        return [self._scheduler(dict(scheduler)) for scheduler in each]

    def _scheduler(self, scheduler: dict[str, Any]) -> dict[str, Any]:
        ratio = self.epochs / self.before * (1 if scheduler.get('by_epoch', True) else self.share)
        length = scheduler.get('end', 0) - scheduler.get('begin', 0)
        for key in ('begin', 'end', 'T_max', 'step_size', 'total_steps'):
            if scheduler.get(key):
                is_whole = key == 'T_max' and scheduler[key] == length  # stays so when the others are rounded
                stretched = scheduler['end'] - scheduler.get('begin', 0) if is_whole else scheduler[key] * ratio
                scheduler[key] = max(1, round(stretched))
                if key == 'end':
                    scheduler[key] = max(scheduler[key], scheduler.get('begin', 0) + 1)
        for key in ('milestones', 'periods'):
            if key in scheduler:
                scheduler[key] = [max(1, round(step * ratio)) for step in scheduler[key]]
        if str(scheduler.get('type')).endswith('ExponentialLR'):
            scheduler['gamma'] = scheduler['gamma'] ** (1 / ratio)
        return scheduler
