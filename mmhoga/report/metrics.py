"""Metrics by which runs are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mmhoga.report.runs import Run


@dataclass(frozen=True)
class Metric:
    """A measured quantity, higher is better: its key in the logs, name, unit, digits after the point."""

    key: str
    title: str
    unit: str = ''
    digits: int = 3

    @property
    def axis(self) -> str:
        return f'{self.title} ({self.unit})' if self.unit else self.title

    def format(self, value: float) -> str:
        """Without the unit. Values that are equal up to float rounding have the same text."""
        if 0 < abs(value) < 10**-self.digits:
            return f'{value:.2g}'
        return f'{round(value, self.digits + 3):.{self.digits}f}'

    def same(self, first: float, second: float) -> bool:
        """Equal up to float rounding, or to the digits shown.."""
        return math.isclose(first, second, rel_tol=1e-6) or self.format(first) == self.format(second)


#: Known metrics. A report is about the first of them that its runs have.
METRICS = (
    Metric('accuracy/top1', 'accuracy', '%', 2),
    Metric('coco/bbox_mAP', 'box AP'),
    Metric('coco/AP', 'keypoint AP'),
    Metric('pascal_voc/mAP', 'mAP'),
    Metric('single-label/f1-score', 'F1 score', '%', 2),
)


def pick_metric(runs: Iterable[Run], key: str | None = None) -> Metric | None:
    """The metric with that key, or else the first of :data:`METRICS`, or else the runs' own first one.

    Raises:
        ValueError: no run measured ``key``.
    """
    measured = list(dict.fromkeys(metric for run in runs for metric in run.metrics))
    if key is not None and key not in measured:
        raise ValueError(f'No run measured {key!r}; measured were: {", ".join(measured) or "none"}.')
    known = {metric.key: metric for metric in METRICS}
    wanted = [key] if key else [*known, *measured]
    return next((known.get(name, Metric(name, name)) for name in wanted if name in measured), None)
