"""Ranking and Pareto front of the genotypes of a study."""

from __future__ import annotations

from typing import Any

from mmhoga.report.comparison import Metric, pick_measured
from mmhoga.studies.space import from_parameters
from mmhoga.studies.study import Study


def pick_study_metric(study: Study, key: str | None) -> Metric | None:
    """The metric ``key``, or else the default one of those that the trials measured; None before the first is done.

    Raises:
        ValueError: no trial measured ``key``.
    """
    trials = study.complete.values()
    measured = dict.fromkeys(metric for trial in trials for metric in trial.user_attrs['metrics'])
    return pick_measured(measured, key) if measured else None


def rank(study: Study, metric: Metric, cost: str | None, num_groups: int) -> list[dict[str, Any]]:
    """The trials that measured ``metric``, the best first. The keys are those of ``ranking.json``.

    With a cost, ``front`` tells whether a trial is on the Pareto front: no other trial is better in one of the two
    and at least equal in the other.
    """
    front: set[int] = {trial.number for trial in study.study.best_trials} if cost else set()
    rows: list[dict[str, Any]] = []
    for number, trial in study.complete.items():
        value = trial.user_attrs['metrics'].get(metric.key)
        if value is not None:
            row: dict[str, Any] = {'trial': number, metric.key: value}
            if cost:
                row |= {cost: trial.user_attrs['cost'], 'front': trial.number in front}
            rows.append({**row, 'genotype': from_parameters(trial.params, num_groups).to_dict()['edges']})
    sign = 1 if study.minimizes else -1
    return sorted(rows, key=lambda row: (sign * row[metric.key], row[cost] if cost else 0, row['trial']))
