"""The report of a search and of trained networks: one self-contained HTML file, and its numbers as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import jinja2

from mmhoga.figures import genotype_figure, plots, styles
from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype, edge_name
from mmhoga.report import comparison as scoring
from mmhoga.report.comparison import NetworkRow
from mmhoga.report.costs import image_times, network_complexity, step_times
from mmhoga.report.environment import describe_environment
from mmhoga.report.runs import Run, read_run
from mmhoga.report.search_runs import SearchRun, read_search

#: Parameters and multiply-accumulates.
Size = tuple[Optional[int], Optional[int]]
_UNKNOWN: Size = (None, None)


def write_report(
    path: str | os.PathLike,
    *,
    title: str = 'HOGA report',
    search: SearchRun | None = None,
    comparison: Sequence[NetworkRow] = (),
    environment: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
    notes: Sequence[str] = (),
    highlight: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    reference: str = 'autola',
    search_size: Size = _UNKNOWN,
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
    chosen = scoring.pick_metric([run for row in comparison for run in row.runs], metric)
    source = scoring.score_source(comparison, chosen) if chosen else 'validation'
    runs = [('search', search.run)] if search and search.run else []
    runs += [(row.name, run) for row in comparison for run in row.runs]
    html = _TEMPLATES.get_template('report.html').render(
        title=title,
        search=search,
        search_size=search_size,
        reference={reference: Genotype.from_config(reference)},
        comparison=comparison,
        metric=chosen,
        split=split or source,
        curve_split=split or 'validation',
        highlight=highlight,
        notes=notes,
        commands=commands,
        runs=runs,
        environment=environment or {},
    )
    numbers = {
        'search': _search_numbers(search) if search else None,
        'networks': [
            {
                'name': row.name,
                'parameters': row.params,
                'macs': row.macs,
                'seconds_a_step': row.seconds_per_step,
                'seconds_an_image': row.image_time,
                'runs': [_run_numbers(run) for run in row.runs],
            }
            for row in comparison
        ],
        'environment_of_the_report': dict(environment or {}),
    }
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.with_suffix('.json'), json.dumps(numbers, indent=1, ensure_ascii=False) + '\n')
    write_atomic(path, html)
    return path


def report_from_work_dirs(
    out: str | os.PathLike,
    *,
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
    runs = {name: tuple(read_run(folder) for folder in folders) for name, folders in (networks or {}).items()}
    groups: list[tuple[str | None, tuple[Run, ...]]] = list(runs.items())
    if search is not None and search.run is not None:
        groups.append((None, (search.run,)))
    configs = {name: run.config_path for name, group in groups for run in reversed(group) if run.config_path}
    sizes: dict[str | None, Size] = {}
    for name, config in configs.items():
        try:
            sizes[name] = network_complexity(config, shape)
        except Exception as error:  # a missing host, a genotype that was moved, an unsuitable input size, ...
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            notes.append(f'Parameters and MACs of {name or "the search"} could not be counted: {reason}')
    options.setdefault('search_size', sizes.pop(None, _UNKNOWN))
    trained = {name: config for name, config in configs.items() if name is not None}
    steps = step_times(trained) if measure_steps else {}
    images = image_times(trained, shape) if measure_images and shape is not None else {}
    rows = [
        NetworkRow(name, found, *sizes.get(name, _UNKNOWN), steps.get(name), images.get(name))
        for name, found in runs.items()
    ]
    options.setdefault('environment', describe_environment())
    return write_report(out, search=search, comparison=rows, notes=notes, **options)


def _search_numbers(search: SearchRun) -> dict[str, Any]:
    history = search.history
    numbers: dict[str, Any] = {
        'work_dir': str(search.work_dir),
        'genotype': search.genotype.to_dict() if search.genotype else None,
        'run': _run_numbers(search.run) if search.run else None,
    }
    if history is not None:
        numbers.update(
            primitives=history.primitives,
            edges=[edge_name(*edge) for edge in history.edges],
            epochs=history.epochs,
            alpha=history.alpha.tolist(),
            probabilities=history.probabilities.tolist(),
            entropy=history.entropy.tolist(),
            further=history.further,
            changes=[
                {'epoch': epoch, 'edge': edge_name(*edge), 'before': before, 'after': after}
                for epoch, edge, before, after in history.changes()
            ],
        )
    return numbers


def _run_numbers(run: Run) -> dict[str, Any]:
    steps, exact = run.steps
    losses = dict.fromkeys(key for row in run.train for key in row if 'loss' in key)
    return {
        'work_dir': str(run.work_dir),
        'seed': run.seed,
        'steps': steps,
        'steps_exact': exact,
        'unfinished': run.unfinished,
        'final': {key: run.final(key) for key in run.metrics},
        'validations': run.val,
        'losses': {key: dict(zip(('at', 'mean'), run.train_curve(key))) for key in losses},
        'environment': run.environment,
        'notes': run.notes,
    }


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / 'templates'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=['jinja2.ext.do'],
)
_TEMPLATES.filters.update(count=scoring.format_count, seconds=scoring.format_seconds)
_TEMPLATES.globals.update(drawing=genotype_figure, plots=plots, scoring=scoring, styles=styles)
