"""A study: Optuna proposes and remembers, folders hold the trainings, and locks tell which trials are being run.

Each trial has a folder, ``trial_000``, ``trial_001``, ... Its lock is held while the trial runs and ends with the
process. A trial that Optuna lists as running and whose lock is free was therefore interrupted, and the next process
that looks for work continues it in the same folder. This needs no heartbeat, so it works with any storage.
"""

from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Callable

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mmhoga.files import write_atomic
from mmhoga.studies.backends import PRUNERS, SAMPLERS, StudyError, open_storage
from mmhoga.studies.locks import lock_file


class TrialError(Exception):
    """A trial failed. The study goes on."""


class TrialStopped(Exception):
    """A trial was interrupted. The next start continues it."""


@dataclass(frozen=True)
class Claim:
    """A trial that this process runs, until :meth:`Study.settle`."""

    trial: optuna.Trial
    number: int  # of the trial's folder
    folder: Path
    proposal: Any  # what ``suggest`` returned
    lock: IO[str] = field(repr=False)  # a training that outlives this process must inherit it


class Study:
    """Trials of one config in ``work_dir``, shared by all processes that open it with the same storage.

    Trials are numbered from 0. A number is that of the folder. Optuna's own number differs once a failed trial has been
    repeated: Optuna keeps the failure and lists the repetition as another trial.

    Args:
        work_dir: folder of the trials. All processes must see the same folder.
        directions: ``'maximize'`` or ``'minimize'`` for each objective.
        settings: what all trials share, as JSON; stored in ``trials.json``.
        suggest: turns Optuna's trial into a proposal, such as a genotype.
        storage: a file for Optuna's journal (default: ``study.journal`` in work_dir), or the URL of a database.
        sampler: ``'random'``, ``'tpe'`` or ``'nsga2'``. Each trial has its own seed, made from ``seed`` and its number.
        pruner: ``'none'``, ``'median'``, ``'asha'`` or ``'hyperband'``; with several objectives only ``'none'``.
        population: size of NSGA-II's generations.

    Raises:
        StudyError: the folder holds trials with other settings or of another storage, or the storage cannot be opened.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        directions: Sequence[str],
        settings: Mapping[str, Any],
        suggest: Callable[[optuna.Trial], Any],
        storage: str | None = None,
        sampler: str = 'random',
        pruner: str = 'none',
        seed: int = 0,
        population: int = 10,
    ) -> None:
        if pruner != 'none' and len(directions) > 1:
            raise StudyError(
                f'The pruner {pruner!r} needs a study with one objective, and this one has {len(directions)}. '
                "Leave out the cost, or use the pruner 'none'."
            )
        self.work_dir = work_dir.resolve()
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.failures: list[str] = []  # messages of the trials that failed in this process
        self._taken: set[int] = set()  # numbers of the trials that this process has started
        self._suggest, self._sampler, self._seed, self._population = suggest, sampler, seed, population
        storage = storage or str(self.work_dir / 'study.journal')
        with self._alone():
            identity = self._check_settings(settings)
            self.study = optuna.create_study(
                study_name=self.work_dir.name,
                storage=open_storage(storage),
                directions=[StudyDirection[name.upper()] for name in directions],
                pruner=PRUNERS[pruner](),
                load_if_exists=True,
            )
            if self.study.user_attrs.get('id', identity) != identity:
                raise StudyError(
                    f'{storage} holds another study named {self.work_dir.name!r}, whose trials are not in '
                    f'{self.work_dir}. Use the --work-dir of that study, or one with another name.'
                )
            self.study.set_user_attr('id', identity)

    def _alone(self) -> IO[str]:
        """The lock under which the study's own files are written. To be used in a ``with`` statement."""
        lock = lock_file(self.work_dir / '.study.lock', wait=True)
        assert lock is not None
        return lock

    def _check_settings(self, settings: Mapping[str, Any]) -> str:
        """Write ``trials.json``, or compare with it. Returns the identity of the folder."""
        now = json.loads(json.dumps(settings, default=str))
        path = self.work_dir / 'trials.json'
        identity = None
        if path.is_file():
            try:
                before = dict(json.loads(path.read_text(encoding='utf-8')))
            except (ValueError, TypeError) as error:
                raise StudyError(f'{path} does not hold the settings of trials: {error}') from error
            identity = before.pop('id', None)  # earlier versions wrote none
            for key in sorted({*before, *now}):
                if before.get(key) != now.get(key):
                    raise StudyError(
                        f'{self.work_dir} belongs to other trials: {key} is {before.get(key)!r} there and '
                        f'{now.get(key)!r} here. Use another --work-dir, or the same {key}.'
                    )
        if identity is None:
            identity = uuid.uuid4().hex
            write_atomic(path, json.dumps({**now, 'id': identity}, indent=2, sort_keys=True) + '\n')
        return identity

    @property
    def trials(self) -> dict[int, FrozenTrial]:
        """Optuna's record of each trial by number. Of a repeated trial it is the last record."""
        records = (trial for trial in self.study.get_trials(deepcopy=False) if 'number' in trial.user_attrs)
        return {trial.user_attrs['number']: trial for trial in records}

    @property
    def minimizes(self) -> bool:
        """Whether the first objective is better where it is lower."""
        return self.study.directions[0] is StudyDirection.MINIMIZE

    def in_state(self, *states: TrialState) -> dict[int, FrozenTrial]:
        """The trials in one of these states, by number."""
        return {number: trial for number, trial in sorted(self.trials.items()) if trial.state in states}

    @property
    def complete(self) -> dict[int, FrozenTrial]:
        """The trials that have values, by number."""
        return self.in_state(TrialState.COMPLETE)

    def folder(self, number: int) -> Path:
        return self.work_dir / f'trial_{number:03d}'

    def plan(self, parameters: Mapping[int, Mapping[str, Any]]) -> None:
        """Add the trials with these numbers that do not exist, and repeat those that failed.

        Parameters that are not given are chosen by the sampler when the trial starts.
        """
        with self._alone():
            trials = self.trials
            for number, fixed in parameters.items():
                before = trials.get(number)
                if before is None or before.state is TrialState.FAIL:
                    fixed = fixed if before is None else before.params or fixed
                    self.study.enqueue_trial(dict(fixed), user_attrs={'number': number})

    def claim(self, numbers: Collection[int]) -> Claim | None:
        """Take a trial with one of these numbers that waits or was interrupted before; None if there is none.

        A genotype that the sampler proposes again is not run again: the trial gets the values of the first one.
        """
        for number, trial in self.in_state(TrialState.RUNNING, TrialState.WAITING).items():
            if number not in numbers or number in self._taken:
                continue
            folder = self.folder(number)
            folder.mkdir(exist_ok=True)
            lock = lock_file(folder / '.lock')
            claim = self._take(trial, number, lock) if lock else None
            if claim is None:
                continue
            values = self._known_values(claim.trial)
            if values is None:
                return claim
            self.settle(claim, values.copy)
        return None

    def _take(self, trial: FrozenTrial, number: int, lock: IO[str]) -> Claim | None:
        """Turn a locked trial into a claim, unless another process has finished it before this one had the lock."""
        storage = self.study._storage
        state = storage.get_trial(trial._trial_id).state
        if state.is_finished():
            lock.close()
            return None
        if state is TrialState.WAITING:
            storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        self._taken.add(number)
        # A sampler that went on from one seed would repeat itself in every process and after every start.
        seed = random.Random(f'{self._seed} {number}').getrandbits(32)
        self.study.sampler = SAMPLERS[self._sampler](seed, self._population)
        running = optuna.Trial(self.study, trial._trial_id)
        return Claim(running, number, self.folder(number), self._suggest(running), lock)

    def _known_values(self, trial: optuna.Trial) -> list[float] | None:
        for number, other in self.complete.items():
            if other.params == trial.params:
                trial.set_user_attr('same_as', number)
                for key, value in other.user_attrs.items():
                    if key not in ('number', 'same_as'):
                        trial.set_user_attr(key, value)
                return other.values
        return None

    def settle(self, claim: Claim, compute: Callable[[], Sequence[float]]) -> str:
        """Record the values that ``compute`` returns, or how it failed, and release the trial.

        Exceptions other than TrialError, TrialStopped and ``optuna.TrialPruned`` are raised, and leave a trial that the
        next start continues.

        Returns:
            A sentence for the user.
        """
        with claim.lock:
            try:
                values = compute()
                if not all(map(math.isfinite, values)):
                    raise TrialError(f'trial {claim.number} ended with the values {list(values)}.')
                self.study.tell(claim.trial, values)
            except optuna.TrialPruned:
                self.study.tell(claim.trial, state=TrialState.PRUNED)
                return 'pruned'
            except TrialStopped as error:
                self.failures.append(str(error))
                return 'interrupted; the next start continues it'
            except TrialError as error:
                claim.trial.set_user_attr('error', str(error))
                self.study.tell(claim.trial, state=TrialState.FAIL)
                self.failures.append(str(error))
                return 'failed'
        return 'done'

    def elsewhere(self, numbers: Collection[int]) -> list[int]:
        """Those of these trials that another process was running when this process looked for work the last time."""
        return [number for number in self.in_state(TrialState.RUNNING) if number in {*numbers} - self._taken]

    def run(
        self,
        objective: Callable[[Claim], Sequence[float]],
        numbers: Collection[int],
        report: Callable[[str], object] = lambda text: None,
    ) -> int:
        """Run the trials with these numbers one after the other, except those that other processes run.

        Returns:
            The number of trials that this process has run. ``report`` receives a line for each.
        """
        count = 0
        while claim := self.claim(numbers):
            outcome = self.settle(claim, lambda claim=claim: objective(claim))  # type: ignore[misc]
            report(f'trial {claim.number}: {outcome}')
            count += 1
        return count
