"""The report of a search and of the networks that were trained with what it found: one self-contained HTML file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmhoga.files import write_atomic
from mmhoga.report import page, search_sections
from mmhoga.report import report_sections as sections
from mmhoga.report.comparison import NetworkRow, network_complexity, score_source
from mmhoga.report.environment import describe_environment
from mmhoga.report.metrics import pick_metric
from mmhoga.report.report_numbers import report_numbers
from mmhoga.report.runs import read_run
from mmhoga.report.search_runs import SearchRun, read_search
from mmhoga.report.step_time import image_times, step_times


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
    search_size: tuple[int | None, int | None] = (None, None),
) -> Path:
    """Write a report, whole or not at all, and beside it, as ``.json``, the numbers behind it.

    Args:
        path: the ``.html`` file; its folder is made if need be.
        title: of the page.
        search: the search, finished or not.
        comparison: the networks, in the order of the table.
        environment: versions, threads, processor.
        commands: what a reader types to get these numbers.
        notes: what a reader must know of the comparison's numbers: what else ran on the machine, say.
        highlight: the name of the network that the headline is about; None: the best.
        metric: key of the metric in the logs; None: the first known one that the runs have.
        split: what the metric was measured on, for the labels; None: ``test`` if tools/test.py measured it, else
            ``validation``.
        reference: a genotype to draw beside the searched one.
        search_size: (parameters, multiply-accumulates) of the network in which the search took place.

    Returns:
        ``path``, absolute.

    Raises:
        ValueError: two networks of one name, a ``highlight`` that is none of them, or a metric that none has.
    """
    names = [row.name for row in comparison]
    if len(set(names)) != len(names):
        raise ValueError(f'Two networks of the comparison have one name: {names}.')
    if highlight is not None and highlight not in names:
        raise ValueError(f'highlight={highlight!r} is no network of the comparison: {names}.')
    chosen = pick_metric([run for row in comparison for run in row.runs], metric)
    place = split or (score_source(comparison, chosen) if chosen else 'validation')
    html = [
        *sections.headline(search, comparison, chosen, place, highlight),
        page.section('Genotype', search_sections.genotypes(search, reference)),
        page.section('Search', search_sections.search(search, search_size)),
        page.section('Comparison', sections.comparison(comparison, chosen, place, highlight, notes)),
        page.section('How it was made', sections.provenance(search, comparison, environment or {}, commands)),
    ]
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = page.page(title, html)
    numbers = report_numbers(search, comparison, environment or {})
    write_atomic(path.with_suffix('.json'), json.dumps(numbers, indent=1, ensure_ascii=False) + '\n')
    write_atomic(path, text)
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
        networks: work_dirs, one a seed, of every network, by its name.
        shape: (C, H, W) of an input, for the multiply-accumulates.
        measure_steps: time a training step of every network here and now, by turns, in place of the times in the logs,
            which are not comparable if the runs were on a busy machine.
        measure_images: time how long every network looks at one image of ``shape``, here and now, by turns.
        options: further arguments of :func:`write_report`.

    Raises:
        FileNotFoundError: a work_dir is missing, or holds no log or no search.
        ValueError: ``measure_images`` without a ``shape``, or as :func:`write_report`.
    """
    if measure_images and shape is None:
        raise ValueError('To time how long a network looks at an image, its size is needed: give the shape (C, H, W).')
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


def _size(
    name: str, config: Path | None, shape: Sequence[int] | None, notes: list[str]
) -> tuple[int | None, int | None]:
    """(parameters, multiply-accumulates); a model that cannot be built here is no reason to have no report."""
    if config is None:
        return None, None
    try:
        return network_complexity(config, shape)
    except Exception as error:  # a host that is not installed, a genotype that has moved, an odd input size, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        notes.append(f'Parameters and MACs of {name} could not be counted: {reason}')
        return None, None
