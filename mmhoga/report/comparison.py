"""Networks side by side: their scores and costs, and sentences on what these show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from mmhoga.report.runs import Run

NOT_MEASURED = 'not measured'


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
        """Equal up to float rounding, or to the digits shown."""
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
    return pick_measured(dict.fromkeys(metric for run in runs for metric in run.metrics), key)


def pick_measured(measured: Collection[str], key: str | None = None) -> Metric | None:
    """Like :func:`pick_metric`, from the keys of what was measured."""
    if key is not None and key not in measured:
        raise ValueError(f'No run measured {key!r}; measured were: {", ".join(measured) or "none"}.')
    known = {metric.key: metric for metric in METRICS}
    wanted = [key] if key else [*known, *measured]
    return next((known.get(name, Metric(name, name)) for name in wanted if name in measured), None)


@dataclass(frozen=True)
class NetworkRow:
    """One network of a comparison. None means not measured, and is shown as such."""

    name: str  # unique in a comparison
    runs: tuple[Run, ...]  # one per seed, trained with one recipe
    params: int | None = None
    macs: int | None = None  # multiply-accumulates for one input
    step_time: float | None = None  # seconds per training step, if measured by other means than the runs' logs
    image_time: float | None = None  # seconds per image

    def scores(self, metric: Metric) -> list[float]:
        """The final value of every run that has one."""
        values = (run.final(metric.key) for run in self.runs)
        return [value for value in values if value is not None]

    @property
    def seconds_per_step(self) -> float | None:
        """``step_time``, or else the median over the runs of :attr:`Run.step_time`."""
        times = [run.step_time for run in self.runs if run.step_time is not None]
        return self.step_time if self.step_time is not None else statistics.median(times) if times else None


def score_source(rows: Sequence[NetworkRow], metric: Metric) -> str:
    """``test`` if every score is a test's, ``validation`` if none is, else ``test or validation``."""
    tested = {run.tested(metric.key) for row in rows for run in row.runs if run.final(metric.key) is not None}
    return 'validation' if True not in tested else 'test or validation' if False in tested else 'test'


def runs_title(rows: Sequence[NetworkRow], metric: Metric | None) -> str:
    """The title over the runs' values: their seeds, if all networks have the same ones and no value is missing."""
    seeds = [run.seed for run in rows[0].runs]
    whole = metric and all(len(row.scores(metric)) == len(row.runs) for row in rows)
    alike = all([run.seed for run in row.runs] == seeds for row in rows)
    if not whole or not seeds or not alike or None in seeds or len(set(seeds)) < len(seeds):
        return 'each run'
    return f'seed{"s" if len(seeds) > 1 else ""} {", ".join(map(str, seeds))}'


def format_scores(row: NetworkRow, metric: Metric) -> tuple[str, str, str]:
    """Mean, range and every run's value: ``('98.45', '98.20 to 98.60', '98.20, 98.55, 98.60')``."""
    scores = row.scores(metric)
    if not scores:
        return NOT_MEASURED, NOT_MEASURED, NOT_MEASURED
    low, high = metric.format(min(scores)), metric.format(max(scores))
    extent = 'one run' if len(scores) == 1 else f'{low} in all' if low == high else f'{low} to {high}'
    return metric.format(statistics.fmean(scores)), extent, ', '.join(map(metric.format, scores))


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
    """A sentence with the score and place of one network (``None``: the best), and one on the first or the next."""
    places = _places(rows, metric)
    if not places:
        return f'No {split} {metric.title} was measured.'
    place, row = _subject(places, highlight)
    sentence = f'{_quoted(row)} reaches {_phrase(row, metric, f" {split} {metric.title}")}'
    measured = sum(map(len, places))
    if measured == 1:
        return f'{sentence}.'
    ahead = sum(map(len, places[:place]))
    sentence += f', place {ahead + 1}' if ahead else ', the highest mean'
    sentence += f' of {measured} {"networks" if measured == len(rows) else "measured networks"}'
    if len(places[place]) > 1:
        equal = [other for other in places[place] if other is not row]
        sentence += f', shared with {_quoted(*equal)} to the digits shown'
    if len(places) == 1:
        return f'{sentence}.'
    others, order = (places[0], 'First') if ahead else (places[1], 'Next')
    if len(others) == 1:
        return f'{sentence}. {order} is {_quoted(*others)} with {_phrase(others[0], metric)}.'
    mean = f'{metric.format(_mean(others[0], metric))} {metric.unit}'.strip()
    return f'{sentence}. {order} are {_quoted(*others)}, each with {mean}.'


def cautions(rows: Sequence[NetworkRow], metric: Metric, highlight: str | None) -> list[str]:
    """Sentences on how far :func:`summary` can be trusted."""
    places, found = _places(rows, metric), []
    ranked = [row for equal in places for row in equal]
    if ranked:
        place, row = _subject(places, highlight)
        # A single run is a range of one value. Networks in the same place were not put into an order.
        mine, others = row.scores(metric), [other for other in ranked if other not in places[place]]
        close = [one for one in others if min(mine) <= max(one.scores(metric)) and min(one.scores(metric)) <= max(mine)]
        if close:
            found.append(
                f'The runs of {_quoted(row)} overlap with those of {_quoted(*close)}: with so few runs, '
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


def _places(rows: Sequence[NetworkRow], metric: Metric) -> list[list[NetworkRow]]:
    """The networks with scores, the best first. Those with the same mean share a place."""
    places: list[list[NetworkRow]] = []
    for row in sorted((row for row in rows if row.scores(metric)), key=lambda row: -_mean(row, metric)):
        if places and metric.same(_mean(places[-1][0], metric), _mean(row, metric)):
            places[-1].append(row)
        else:
            places.append([row])
    return places


def _subject(places: Sequence[Sequence[NetworkRow]], highlight: str | None) -> tuple[int, NetworkRow]:
    """The highlighted network and its place; the best one if that has no scores."""
    ranked = [(place, row) for place, rows in enumerate(places) for row in rows]
    return next((item for item in ranked if item[1].name == highlight), ranked[0])


def _mean(row: NetworkRow, metric: Metric) -> float:
    return statistics.fmean(row.scores(metric))


def _phrase(row: NetworkRow, metric: Metric, what: str = '') -> str:
    """``98.45 % test accuracy (98.20 to 98.60 over 3 runs)``."""
    mean, extent, _ = format_scores(row, metric)
    number = len(row.scores(metric))
    if number > 1:
        extent = f'{extent} {number} runs' if extent.endswith('in all') else f'{extent} over {number} runs'
    return f'{mean}{f" {metric.unit}" if metric.unit else ""}{what} ({extent})'


def _quoted(*rows: NetworkRow) -> str:
    names = [f'\N{LEFT DOUBLE QUOTATION MARK}{row.name}\N{RIGHT DOUBLE QUOTATION MARK}' for row in rows]
    return ' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))
