"""The sections of a report on networks, and its frame: generators of HTML; one with nothing to say yields nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmhoga.figures import plots
from mmhoga.figures.palette import series_colour
from mmhoga.report import page
from mmhoga.report.comparison import (
    NOT_MEASURED,
    NetworkRow,
    format_count,
    format_scores,
    format_seconds,
    metric_table,
    summary,
)
from mmhoga.report.metrics import Metric
from mmhoga.report.runs import Run
from mmhoga.report.search_runs import SearchRun


def headline(
    search: SearchRun | None, rows: Sequence[NetworkRow], metric: Metric | None, split: str, highlight: str | None
) -> Iterator[str]:
    found = []
    if search is not None and search.genotype is not None:
        found.append(f'{search.extent} chose {search.chosen}.')
    caution = ''
    if metric:
        sentence, caution = summary(rows, metric, split, highlight)
        found.append(sentence)
    yield page.paragraph(' '.join(found) or 'Nothing has been measured yet.', 'lead')
    yield page.paragraph(caution, 'soft')


def comparison(
    rows: Sequence[NetworkRow], metric: Metric | None, split: str, highlight: str | None, notes: Sequence[str]
) -> Iterator[str]:
    if not rows:
        return
    title = f'{split} {metric.axis}' if metric else 'metric'
    head = ['network', f'{title}, mean', 'lowest to highest', _runs(rows, metric), 'parameters', 'MACs', 'time a step']
    cells = [
        [
            row.name,
            *(format_scores(row, metric) if metric else (NOT_MEASURED,) * 3),
            format_count(row.params),
            format_count(row.macs),
            format_seconds(row.seconds_a_step),
        ]
        for row in rows
    ]
    timed = any(row.image_time is not None for row in rows)
    if timed:
        head.append('time an image')
        cells = [[*line, format_seconds(row.image_time)] for line, row in zip(cells, rows)]
    colours = [series_colour(index) for index in range(len(rows))]
    yield page.table(head, cells, numbers=3 + timed, colours=colours, missing=NOT_MEASURED, mark=highlight)
    measured = 'forward, backward, update; measured by turns in one process'
    logged = 'forward, backward, update, data; in the logs after the first epoch'
    how = measured if any(row.step_time is not None for row in rows) else logged
    legend = f'MACs: multiply-accumulates for one input. Time a step: median seconds of a training step ({how}).'
    if timed:
        legend += ' Time an image: median seconds of a forward pass of one, measured by turns in one process.'
    yield page.paragraph(legend, 'soft')
    yield from (page.paragraph(note, 'soft') for note in notes)
    if metric:
        scores = {row.name: row.scores(metric) for row in rows}
        dots = plots.plot_scores(scores, metric=metric, split=split)
        yield page.figure([dots], 'A dot for each run, a bar at the mean, which stands at the right.', size='medium')
        yield from _costs(rows, metric, split)
    every = metric_table(rows)
    if len(every) > 1:
        names = [row.name for row in rows]
        yield page.folded('All metrics', page.table(['metric', *names], every, missing=NOT_MEASURED))
    networks = {row.name: row.runs for row in rows}
    losses = {name: [run.train_curve('loss') for run in runs] for name, runs in networks.items()}
    curves = plots.plot_progress(networks, losses, metric, split, 'comparison')
    caption = 'Mean over the runs of a network; the band reaches from the lowest to the highest run.'
    yield page.figure(curves, caption, size='medium')


def _costs(rows: Sequence[NetworkRow], metric: Metric, split: str) -> Iterator[str]:
    """The score against each cost that at least two networks were measured for."""
    costs: dict[str, tuple[str, dict[str, float | None]]] = {
        'parameters': ('', {row.name: row.params for row in rows}),
        'MACs': ('', {row.name: row.macs for row in rows}),
        'time a training step': ('s', {row.name: row.seconds_a_step for row in rows}),
        'time an image': ('s', {row.name: row.image_time for row in rows}),
    }
    scores = {row.name: row.scores(metric) for row in rows}
    svgs: list[str] = []
    for label, (unit, values) in costs.items():
        if sum(value is not None and bool(scores[name]) for name, value in values.items()) > 1:
            points = {name: (value, scores[name]) for name, value in values.items()}
            slug = f'cost-{len(svgs)}'
            svgs.append(plots.plot_cost(points, metric=metric, split=split, xlabel=label, unit=unit, name=slug))
    if svgs:
        caption = 'What each network reaches, the mean over its runs and their range, against what it costs.'
        yield page.figure(svgs, caption, size='medium')


def _runs(rows: Sequence[NetworkRow], metric: Metric | None) -> str:
    """The title over the values of the runs: their seeds, if all networks have the same and no value is missing."""
    seeds = {tuple(run.seed for run in row.runs) for row in rows}
    whole = metric and all(len(row.scores(metric)) == len(row.runs) for row in rows)
    first = min(seeds, key=len)
    if not whole or len(seeds) > 1 or None in first:
        return 'each run'
    return f'seed{"s" if len(first) > 1 else ""} {", ".join(map(str, first))}'


def provenance(
    search: SearchRun | None, rows: Sequence[NetworkRow], environment: Mapping[str, Any], commands: Sequence[str]
) -> Iterator[str]:
    if commands:
        yield page.heading('Commands')
        yield page.code('\n'.join(commands))
    searched = [('search', search.run)] if search and search.run else []
    named = searched + [(row.name, row.runs[0]) for row in rows if row.runs]
    yield from _environments(searched + [(row.name, run) for row in rows for run in row.runs])
    if environment:
        yield page.heading('Environment of this report')
        yield page.definitions(environment)
    runs = ([search.run] if search and search.run else []) + [run for row in rows for run in row.runs]
    configs = [page.folded(name, page.code(run.config_text or '')) for name, run in named if run.config_text]
    if configs:
        yield page.heading('Configs')
        yield from configs
    notes = [f'{run.work_dir}: {note}' for run in runs for note in run.notes]
    if notes:
        yield page.heading('What could not be read')
        yield from (page.paragraph(note) for note in notes)


def _environments(runs: Sequence[tuple[str, Run]]) -> Iterator[str]:
    """What each run's log says of its machine; runs on the same one share a list."""
    shared: dict[tuple[tuple[str, str], ...], dict[str, None]] = {}
    for name, run in runs:
        if run.environment:
            shared.setdefault(tuple(run.environment.items()), {})[name] = None
    for facts, names in shared.items():
        yield page.heading(f'Environment of the runs: {", ".join(names)}')
        yield page.definitions(dict(facts))
