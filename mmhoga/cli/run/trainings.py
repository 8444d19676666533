"""Trainings as the trials of a study: the config of each, its process, its metrics, and its pruning.

A trial's config is written whole into its folder (``config.py``). Nothing travels as text in ``--cfg-options``.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

import optuna
from mmengine.config import Config

from mmhoga.cli.run.jobs import Job, JobError, JobPool, JobRunningError, JobStoppedError, OnStart, from_here
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, one_paragraph
from mmhoga.report.comparison import pick_measured
from mmhoga.report.runs import Run, read_run
from mmhoga.studies.costs import NetworkCost
from mmhoga.studies.study import Claim, Study, TrialError, TrialStopped


@dataclass
class Training:
    """One training, whose last validation gives the value of a trial."""

    claim: Claim
    job: Job
    metric: str | None = None  # key in the logs; None is the default of the report
    cost: float | None = None
    pruned: bool = field(default=False, init=False)
    _reported: set[int] = field(default_factory=set, init=False)
    _validated: bool = field(default=False, init=False)

    def __call__(self, threads: int, on_start: OnStart) -> Sequence[float]:
        """Train, or continue, to the end and return the metric and the cost."""
        if not self.job.done():
            self._run(threads, on_start)
        run = read_run(self.job.work_dir)
        key = self._metric(run)
        value = run.final(key) if key else None
        if key is None or value is None:
            raise TrialError(f'{self.job.name} ended without a validation (work_dir {self.job.work_dir}).')
        trial = self.claim.trial
        trial.set_user_attr('metrics', {name: run.final(name) for name in run.metrics if run.final(name) is not None})
        if self.cost is None:
            return [value]
        trial.set_user_attr('cost', self.cost)
        return [value, self.cost]

    def _run(self, threads: int, on_start: OnStart) -> None:
        processes: list[Any] = []

        def started(process: Any) -> None:
            processes.append(process)
            on_start(process)

        def watch(line: str) -> None:
            # mmengine prints a validation before it writes its values to the log that is read here.
            if '(val)' in line:
                self._validated = True
            elif self._validated:
                self._validated = False
                if self._report() and not self.pruned:
                    self.pruned = True
                    processes[0].terminate()

        is_prunable = len(self.claim.trial.study.directions) == 1
        try:
            self.job.run(threads, watch if is_prunable else None, started)
        except (JobRunningError, JobStoppedError) as error:
            if not self.pruned:
                raise TrialStopped(str(error)) from error
        except JobError as error:
            raise TrialError(str(error)) from error
        if self.pruned:
            raise optuna.TrialPruned

    def _report(self) -> bool:
        """Report the validations since the last report. Returns whether the pruner ends the trial."""
        run = read_run(self.job.work_dir)
        key = self._metric(run)
        if key is None:
            return False
        for step, value in zip(*run.val_curve(key)):
            if int(step) not in self._reported:
                self._reported.add(int(step))
                self.claim.trial.report(value, int(step))
        return self.claim.trial.should_prune()

    def _metric(self, run: Run) -> str | None:
        try:
            metric = pick_measured(run.metrics, self.metric)
        except ValueError as error:
            raise LaunchError(f'--metric: {error}') from error
        return metric.key if metric else None


@dataclass(frozen=True)
class Trainings:
    """The trainings of a study: ``change`` makes the config of a trial from ``cfg``."""

    study: Study
    cfg: Config
    change: Callable[[Config, Claim], Config]
    metric: str | None = None  # key in the logs; None is the default of the report
    cost: NetworkCost | None = None
    name: Callable[[Claim], str] = lambda claim: f'trial {claim.number}'

    def run(self, numbers: Collection[int], side_by_side: int) -> int:
        """Run the trials with these numbers, several at a time. Returns how many this process has run."""
        count = 0
        with JobPool(side_by_side) as pool:
            while count < side_by_side and self._start_next(pool, numbers):
                count += 1
            for claim, future in pool.finished():
                print(f'{self.name(claim)}: {self.study.settle(claim, future.result)}', flush=True)
                count += self._start_next(pool, numbers)
        return count

    def _start_next(self, pool: JobPool, numbers: Collection[int]) -> bool:
        claim = self.study.claim(numbers)
        if claim is None:
            return False
        changed = self.change(self.cfg, claim)
        config = claim.folder / 'config.py'
        write_atomic(config, changed.pretty_text)
        job = Job(self.name(claim), from_here(config), claim.folder, lock=claim.lock)
        pool.call(claim, Training(claim, job, self.metric, self._cost(changed)))
        return True

    def _cost(self, cfg: Config) -> float | None:
        if self.cost is None:
            return None
        import_mmpretrain(cfg)
        model = build_model(copy.deepcopy(cfg))
        try:
            return self.cost(model)
        except Exception as error:
            raise LaunchError(
                f'--cost {self.cost.name}: the model of {self.cfg.filename} cannot be measured with an image of '
                f'{self.cost.size[0]} x {self.cost.size[1]}: {one_paragraph(error)}'
            ) from error
