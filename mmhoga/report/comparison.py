"""Networks side by side: what each was measured to reach and to cost."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.config import Config

from mmhoga.hosts import build_model
from mmhoga.models.complexity import count
from mmhoga.report.metrics import Metric, pick_metric
from mmhoga.report.runs import Run

NOT_MEASURED = 'not measured'


@dataclass(frozen=True)
class NetworkRow:
    """One network of a comparison; None is what nobody measured, and is shown as such.

    Attributes:
        name: as the table shows it; unique in a comparison.
        runs: one a seed, trained with one recipe.
        params: number of parameters.
        macs: multiply-accumulates for one input.
        step_time: seconds a training step, if measured by other means than the runs' logs.
        image_time: seconds in which it looks at one image.
    """

    name: str
    runs: tuple[Run, ...]
    params: int | None = None
    macs: int | None = None
    step_time: float | None = None
    image_time: float | None = None

    def scores(self, metric: Metric) -> list[float]:
        """The final value of every run that has one."""
        values = [run.final(metric.key) for run in self.runs]
        return [value for value in values if value is not None]

    @property
    def seconds_a_step(self) -> float | None:
        """``step_time``, or else the median over the runs of :attr:`Run.step_time`."""
        times = [run.step_time for run in self.runs if run.step_time is not None]
        return self.step_time if self.step_time is not None else statistics.median(times) if times else None


def network_complexity(config: str | os.PathLike, shape: Sequence[int] | None) -> tuple[int, int | None]:
    """(parameters, multiply-accumulates) of the model of a config; the latter None without a ``shape`` (C, H, W)."""
    model = build_model(Config.fromfile(config))
    if shape is None:
        return sum(parameter.numel() for parameter in model.parameters()), None
    cost = count(model, shape)
    return cost.params, cost.macs


def score_source(rows: Sequence[NetworkRow], metric: Metric) -> str:
    """``test`` if every score is a test's, else ``validation``."""
    runs = [run for row in rows for run in row.runs if run.final(metric.key) is not None]
    return 'test' if runs and all(run.tested(metric.key) for run in runs) else 'validation'


def format_scores(row: NetworkRow, metric: Metric) -> tuple[str, str, str]:
    """Mean, spread and every run's value: ``('98.45', '98.20 to 98.60', '98.20, 98.55, 98.60')``."""
    scores = row.scores(metric)
    if not scores:
        return NOT_MEASURED, NOT_MEASURED, NOT_MEASURED
    spread = f'{metric.format(min(scores))} to {metric.format(max(scores))}' if len(scores) > 1 else 'one run'
    return metric.format(_mean(row, metric)), spread, ', '.join(map(metric.format, scores))


def metric_table(rows: Sequence[NetworkRow]) -> list[list[str]]:
    """Every metric that any run has: its key, then of each network the mean and, over several runs, the spread."""
    runs = [run for row in rows for run in row.runs]
    table = []
    for key in dict.fromkeys(key for run in runs for key in run.metrics):
        metric = pick_metric(runs, key)
        if metric is not None:
            cells = [format_scores(row, metric)[:2] for row in rows]
            if any(mean != NOT_MEASURED for mean, _ in cells):
                table.append([key, *(f'{mean} ({spread})' if ' to ' in spread else mean for mean, spread in cells)])
    return table


def format_count(value: int | None) -> str:
    """``25557032 -> '25.56 M'``; small numbers in full."""
    if value is None:
        return NOT_MEASURED
    for unit, size in (('G', 1e9), ('M', 1e6)):
        if value >= size:
            return f'{value / size:.2f} {unit}'
    return f'{value:,}'


def format_seconds(value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    return f'{value * 1e3:.1f} ms' if value < 1 else f'{value:.2f} s'


def summary(rows: Sequence[NetworkRow], metric: Metric, split: str, highlight: str | None) -> tuple[str, str]:
    """What the comparison found: a sentence with the measured numbers, and how far it can be trusted.

    Args:
        rows: the networks.
        metric: of which more is better.
        split: ``test`` or ``validation``.
        highlight: the network that the sentence is about; None: the best.
    """
    ranked = sorted((row for row in rows if row.scores(metric)), key=lambda row: -_mean(row, metric))
    if not ranked:
        return f'No {split} {metric.title} was measured.', ''
    names = [row.name for row in ranked]
    place = names.index(highlight) if highlight in names else 0
    sentence = f'{_quoted(names[place])} reaches {_phrase(ranked[place], metric, f" {split} {metric.title}")}'
    if len(ranked) == 1:
        return f'{sentence}.', ''
    other = ranked[1 if place == 0 else 0]
    if place == 0:
        sentence += f', the highest mean of {len(ranked)} networks; next is {_quoted(other.name)}'
    else:
        sentence += f', place {place + 1} of {len(ranked)} networks; first is {_quoted(other.name)}'
    return f'{sentence} with {_phrase(other, metric)}.', _caution(ranked[place], other, metric)


def _phrase(row: NetworkRow, metric: Metric, what: str = '') -> str:
    """``98.45 % test accuracy (98.20 to 98.60 over 3 runs)``."""
    scores, unit = row.scores(metric), f' {metric.unit}' if metric.unit else ''
    spread = f'{metric.format(min(scores))} to {metric.format(max(scores))} over {len(scores)} runs'
    return f'{metric.format(_mean(row, metric))}{unit}{what} ({spread if len(scores) > 1 else "one run"})'


def _caution(row: NetworkRow, other: NetworkRow, metric: Metric) -> str:
    mine, theirs = row.scores(metric), other.scores(metric)
    if len(mine) < 2 or len(theirs) < 2:
        return 'There is one run of a network here, so the spread over seeds is not known.'
    if min(mine) <= max(theirs) and min(theirs) <= max(mine):
        names = f'{_quoted(row.name)} and {_quoted(other.name)}'
        return f'The ranges of {names} overlap: with so few runs their order is not settled.'
    return ''


def _mean(row: NetworkRow, metric: Metric) -> float:
    return statistics.fmean(row.scores(metric))


def _quoted(name: str) -> str:
    return f'\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}'
