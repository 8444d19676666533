"""The report of a search and of trained networks: one self-contained HTML file, and its numbers as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2

from mmhoga.files import write_atomic
from mmhoga.report.comparison import (
    NetworkRow,
    cautions,
    format_count,
    format_seconds,
    network_complexity,
    score_source,
    summary,
)
from mmhoga.report.environment import describe_environment
from mmhoga.report.metrics import pick_metric
from mmhoga.report.report_numbers import report_numbers
from mmhoga.report.runs import read_run
from mmhoga.report.search_runs import SearchRun, read_search
from mmhoga.report.sections import Size, comparison_content, environments, search_content
from mmhoga.report.step_time import image_times, step_times

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / 'templates'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(count=format_count, seconds=format_seconds)


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    search: SearchRun | None = None,
    comparison: Sequence[NetworkRow] = (),
    environment: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
    notes: Sequence[str] = (),
    highlight: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    reference: str = 'autola',
    search_size: Size = (None, None),
) -> Path:
    """Write a report, completely or not at all, and its numbers beside it as ``.json``.

    Args:
        path: the ``.html`` file; its folder is created if needed.
        title: of the page.
        search: the search, finished or not.
        comparison: the networks, in the order of the table.
        environment: versions, threads, processor.
        commands: that reproduce these numbers.
        notes: remarks on the comparison's numbers, for example what else ran on the machine.
        highlight: the name of the network that the headline is about; None: the best.
        metric: key of the metric in the logs; None: the first known one that the runs have.
        split: name of the data that the metric was measured on, for the labels; None: ``test`` if all values are from
            tests, ``validation`` if none is.
        reference: a genotype to draw beside the searched one.
        search_size: (parameters, multiply-accumulates) of the supernet.

    Returns:
        ``path``, absolute.

    Raises:
        ValueError: two networks have the same name, ``highlight`` is not one of them, or no run has the metric.
    """
    names = [row.name for row in comparison]
    if len(set(names)) != len(names):
        raise ValueError(f'Two networks of the comparison have the same name: {names}.')
    if highlight is not None and highlight not in names:
        raise ValueError(f'highlight={highlight!r} is not a network of the comparison: {names}.')
    chosen = pick_metric([run for row in comparison for run in row.runs], metric)
    place = split or (score_source(comparison, chosen) if chosen else 'validation')
    curves = split or 'validation'
    lead = [search.outcome] if search is not None and search.genotype is not None else []
    if chosen:
        lead.append(summary(comparison, chosen, place, highlight))
    environment = environment or {}
    runs = [('search', search.run)] if search and search.run else []
    runs += [(row.name, run) for row in comparison for run in row.runs]
    html = _TEMPLATES.get_template('report.html').render(
        title=title,
        lead=' '.join(lead) or 'Nothing has been measured yet.',
        cautions=cautions(comparison, chosen, highlight) if chosen else [],
        search=search_content(search, reference, search_size) if search else None,
        comparison=comparison_content(comparison, chosen, place, curves, highlight, notes) if comparison else None,
        commands=commands,
        runs=runs,
        environments=environments(runs),
        environment=environment,
    )
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = report_numbers(search, comparison, environment)
    write_atomic(path.with_suffix('.json'), json.dumps(numbers, indent=1, ensure_ascii=False) + '\n')
    write_atomic(path, html)
    return path


def report_from_work_dirs(
    out: str | os.PathLike,
    *,
    title: str = 'HOGA report',
    search_dir: str | os.PathLike | None = None,
    networks: Mapping[str, Sequence[str | os.PathLike]] | None = None,
    shape: Sequence[int] | None = None,
    measure_steps: bool = False,
    measure_images: bool = False,
    **options: Any,
) -> Path:
    """Read the work_dirs, count the models, and :func:`write_report`.

    Args:
        out: the ``.html`` file.
        title: of the page.
        search_dir: work_dir of the search.
        networks: for each network, by its name, the work_dirs of its runs, one per seed.
        shape: (C, H, W) of an input, for the multiply-accumulates.
        measure_steps: time a training step of every network here and now, by turns. The times in the logs, which are
            used otherwise, are not comparable if the machine was busy.
        measure_images: likewise, time a forward pass of one image of ``shape``.
        options: further arguments of :func:`write_report`.

    Raises:
        FileNotFoundError: a work_dir does not exist, or contains no log or no search.
        ValueError: ``measure_images`` without a ``shape``, or as :func:`write_report`.
    """
    if measure_images and shape is None:
        raise ValueError('Timing an image needs its size: give the shape (C, H, W).')
    search = read_search(search_dir) if search_dir is not None else None
    notes = list(options.pop('notes', ()))
    rows = []
    for name, folders in (networks or {}).items():
        runs = tuple(read_run(folder) for folder in folders)
        config = next((run.config_path for run in runs if run.config_path), None)
        rows.append(NetworkRow(name, runs, *_size(name, config, shape, notes)))
    configs = {row.name: row.runs[0].config_path for row in rows if row.runs and row.runs[0].config_path}
    if measure_steps:
        times = step_times(configs)
        rows = [replace(row, step_time=times.get(row.name)) for row in rows]
    if measure_images and shape is not None:
        times = image_times(configs, shape)
        rows = [replace(row, image_time=times.get(row.name)) for row in rows]
    if search is not None and search.run is not None:
        options.setdefault('search_size', _size('the search', search.run.config_path, shape, notes))
    options.setdefault('environment', describe_environment())
    return write_report(out, title=title, search=search, comparison=rows, notes=notes, **options)


def _size(name: str, config: Path | None, shape: Sequence[int] | None, notes: list[str]) -> Size:
    """(parameters, multiply-accumulates). A model that cannot be built here becomes a note, not an error."""
    if config is None:
        return None, None
    try:
        return network_complexity(config, shape)
    except Exception as error:  # a missing host, a genotype that was moved, an unsuitable input size, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        notes.append(f'Parameters and MACs of {name} could not be counted: {reason}')
        return None, None
