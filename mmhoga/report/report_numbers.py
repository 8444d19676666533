"""The numbers of a report as data, for further plots and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmhoga.genotype import edge_name
from mmhoga.report.comparison import NetworkRow
from mmhoga.report.runs import Run
from mmhoga.report.search_runs import SearchRun


def report_numbers(
    search: SearchRun | None, rows: Sequence[NetworkRow], environment: Mapping[str, Any]
) -> dict[str, Any]:
    """A JSON document. None means not measured."""
    return {
        'search': None if search is None else _search(search),
        'networks': [_network(row) for row in rows],
        'environment_of_the_report': dict(environment),
    }


def _search(search: SearchRun) -> dict[str, Any]:
    history = search.history
    found: dict[str, Any] = {
        'work_dir': str(search.work_dir),
        'genotype': None if search.genotype is None else search.genotype.to_dict(),
        'run': None if search.run is None else _run(search.run),
    }
    if history is not None:
        found.update(
            primitives=list(history.primitives),
            edges=[edge_name(*edge) for edge in history.edges],
            epochs=list(history.epochs),
            alpha=history.alpha.tolist(),
            probabilities=history.probabilities.tolist(),
            entropy=history.entropy.tolist(),
            further=[dict(record) for record in history.further],
            changes=[
                {'epoch': epoch, 'edge': edge_name(*edge), 'before': before, 'after': after}
                for epoch, edge, before, after in history.changes()
            ],
        )
    return found


def _network(row: NetworkRow) -> dict[str, Any]:
    return {
        'name': row.name,
        'parameters': row.params,
        'macs': row.macs,
        'seconds_a_step': row.seconds_per_step,
        'seconds_an_image': row.image_time,
        'runs': [_run(run) for run in row.runs],
    }


def _run(run: Run) -> dict[str, Any]:
    steps, exact = run.steps
    return {
        'work_dir': str(run.work_dir),
        'seed': run.seed,
        'steps': steps,
        'steps_exact': exact,
        'unfinished': run.unfinished,
        'final': {key: run.final(key) for key in run.metrics},
        'validations': [dict(row) for row in run.val],
        'losses': {key: dict(zip(('at', 'mean'), run.train_curve(key))) for key in run.losses},
        'environment': dict(run.environment),
        'notes': list(run.notes),
    }
