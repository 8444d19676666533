"""Networks side by side: their scores and costs, and sentences on what these show."""

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
    """One network of a comparison. None means not measured, and is shown as such.

    Attributes:
        name: as the table shows it; unique in a comparison.
        runs: one per seed, trained with one recipe.
        params: number of parameters.
        macs: multiply-accumulates for one input.
        step_time: seconds per training step, if measured by other means than the runs' logs.
        image_time: seconds per image.
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
    def seconds_per_step(self) -> float | None:
        """``step_time``, or else the median over the runs of :attr:`Run.step_time`."""
        times = [run.step_time for run in self.runs if run.step_time is not None]
        return self.step_time if self.step_time is not None else statistics.median(times) if times else None


def network_complexity(config: str | os.PathLike, shape: Sequence[int] | None) -> tuple[int, int | None]:
    """(parameters, multiply-accumulates) of a config's model; the latter is None without a ``shape`` (C, H, W)."""
    model = build_model(Config.fromfile(config))
    if shape is None:
        return sum(parameter.numel() for parameter in model.parameters()), None
    cost = count(model, shape)
    return cost.params, cost.macs


def score_source(rows: Sequence[NetworkRow], metric: Metric) -> str:
    """``test`` if every score is a test's, ``validation`` if none is, else ``test or validation``."""
    runs = [run for row in rows for run in row.runs if run.final(metric.key) is not None]
    tested = [run.tested(metric.key) for run in runs]
    return 'validation' if not any(tested) else 'test' if all(tested) else 'test or validation'


def format_scores(row: NetworkRow, metric: Metric) -> tuple[str, str, str]:
    """Mean, range and every run's value: ``('98.45', '98.20 to 98.60', '98.20, 98.55, 98.60')``."""
    scores = row.scores(metric)
    if not scores:
        return NOT_MEASURED, NOT_MEASURED, NOT_MEASURED
    low, high = metric.format(min(scores)), metric.format(max(scores))
    extent = 'one run' if len(scores) == 1 else f'{low} in all' if low == high else f'{low} to {high}'
    return metric.format(statistics.fmean(scores)), extent, ', '.join(map(metric.format, scores))


def metric_table(rows: Sequence[NetworkRow]) -> list[list[str]]:
    """One row per metric: its key, then each network's mean and, over several runs, the range."""
    runs = [run for row in rows for run in row.runs]
    table = []
    for key in dict.fromkeys(key for run in runs for key in run.metrics):
        metric = pick_metric(runs, key)
        if metric is not None:
            cells = [format_scores(row, metric)[:2] for row in rows]
            if any(mean != NOT_MEASURED for mean, _ in cells):
                table.append([key, *(f'{mean} ({extent})' if ' to ' in extent else mean for mean, extent in cells)])
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
    """``0.0412 -> '41.2 ms'``; below 1 ms with three significant digits, from 90 s in minutes, from 90 min in hours."""
    if value is None:
        return NOT_MEASURED
    for unit, size, least, digits in (('h', 3600, 5400, 1), ('min', 60, 90, 1), ('s', 1, 10, 0), ('s', 1, 1, 2)):
        if value >= least:
            return f'{value / size:.{digits}f} {unit}'
    return f'{value * 1e3:.1f} ms' if value >= 1e-3 else f'{value * 1e3:.3g} ms'


def summary(rows: Sequence[NetworkRow], metric: Metric, split: str, highlight: str | None) -> str:
    """A sentence with one network's score and its place among the others.

    Args:
        rows: the networks.
        metric: higher is better.
        split: for the label, as ``test``.
        highlight: the network that the sentence is about; None: the best.
    """
    ranked = _ranked(rows, metric)
    if not ranked:
        return f'No {split} {metric.title} was measured.'
    row = _subject(ranked, highlight)
    sentence = f'{_quoted(row)} reaches {_phrase(row, metric, f" {split} {metric.title}")}'
    if len(ranked) == 1:
        return f'{sentence}.'
    networks = f'{len(ranked)} {"networks" if len(ranked) == len(rows) else "measured networks"}'
    equal = [other for other in _level(ranked, row, metric) if other is not row]
    ahead = [other for other in ranked if other not in equal and _mean(other, metric) > _mean(row, metric)]
    behind = [other for other in ranked if other not in equal and _mean(other, metric) < _mean(row, metric)]
    if ahead:
        shared = f', shared with {_quoted(*equal)} to the digits shown' if equal else ''
        first = _level(ranked, ahead[0], metric)
        return f'{sentence}, place {len(ahead) + 1} of {networks}{shared}. {_others("First", first, metric)}'
    if equal:
        return f'{sentence}. To the digits shown, {_quoted(*equal)} reached the same mean, the highest of {networks}.'
    return f'{sentence}, the highest mean of {networks}. {_others("Next", _level(ranked, behind[0], metric), metric)}'


def cautions(rows: Sequence[NetworkRow], metric: Metric, highlight: str | None) -> list[str]:
    """Sentences on how far :func:`summary` can be trusted."""
    ranked, found = _ranked(rows, metric), []
    several = [row for row in ranked if len(row.scores(metric)) > 1]
    row = _subject(ranked, highlight) if ranked else None
    if row in several:
        mine = row.scores(metric)
        others = [other for other in several if other not in _level(ranked, row, metric)]
        close = [other for other in others if _overlap(mine, other.scores(metric))]
        if close:
            ranges = 'that' if len(close) == 1 else 'those'
            found.append(
                f'The range of {_quoted(row)} overlaps with {ranges} of {_quoted(*close)}: with so few runs, '
                'their order is not settled.'
            )
    single = [row for row in ranked if len(row.scores(metric)) == 1]
    if single and len(ranked) > 1:
        verb = 'has one run' if len(single) == 1 else 'have one run each'
        found.append(f'{_quoted(*single)} {verb}, so the spread over seeds is not known.')
    for row in rows:
        missing = len(row.runs) - len(row.scores(metric))
        if row in ranked and missing:
            found.append(f'{_quoted(row)}: {missing} of {len(row.runs)} runs without {metric.title} yet.')
        unfinished = ', '.join(run.unfinished for run in row.runs if run.unfinished)
        if unfinished:
            found.append(f'{_quoted(row)} has unfinished runs ({unfinished}), of which the last value is shown.')
    return found


def _ranked(rows: Sequence[NetworkRow], metric: Metric) -> list[NetworkRow]:
    return sorted((row for row in rows if row.scores(metric)), key=lambda row: -_mean(row, metric))


def _subject(ranked: Sequence[NetworkRow], highlight: str | None) -> NetworkRow:
    return next((row for row in ranked if row.name == highlight), ranked[0])


def _level(ranked: Sequence[NetworkRow], row: NetworkRow, metric: Metric) -> list[NetworkRow]:
    """The networks with the mean of ``row``, itself among them."""
    return [other for other in ranked if metric.same(_mean(other, metric), _mean(row, metric))]


def _others(place: str, rows: Sequence[NetworkRow], metric: Metric) -> str:
    if len(rows) == 1:
        return f'{place} is {_quoted(*rows)} with {_phrase(rows[0], metric)}.'
    unit = f' {metric.unit}' if metric.unit else ''
    return f'{place} are {_quoted(*rows)}, each with {metric.format(_mean(rows[0], metric))}{unit}.'


def _phrase(row: NetworkRow, metric: Metric, what: str = '') -> str:
    """``98.45 % test accuracy (98.20 to 98.60 over 3 runs)``."""
    mean, extent, _ = format_scores(row, metric)
    number = len(row.scores(metric))
    if number > 1:
        extent = f'{extent} {number} runs' if extent.endswith('in all') else f'{extent} over {number} runs'
    return f'{mean}{f" {metric.unit}" if metric.unit else ""}{what} ({extent})'


def _overlap(first: Sequence[float], second: Sequence[float]) -> bool:
    return min(first) <= max(second) and min(second) <= max(first)


def _mean(row: NetworkRow, metric: Metric) -> float:
    return statistics.fmean(row.scores(metric))


def _quoted(*rows: NetworkRow) -> str:
    names = [f'\N{LEFT DOUBLE QUOTATION MARK}{row.name}\N{RIGHT DOUBLE QUOTATION MARK}' for row in rows]
    return ' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))
