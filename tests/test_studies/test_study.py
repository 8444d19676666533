"""Studies with closed-form objectives: every trial once, whoever is killed; failures, seeds, and the Pareto front."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mmhoga.report.comparison import Metric
from mmhoga.studies.backends import SAMPLERS, StudyError
from mmhoga.studies.ranking import pick_study_metric, rank
from mmhoga.studies.space import from_parameters, sample_genotypes, suggest_genotype, to_parameters
from mmhoga.studies.study import Study, TrialError, TrialStopped

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = Path(__file__).with_name('two_processes.py')
SPACE = dict(num_groups=2, primitives=['se', 'cbam', 'skip_connect'])
PRICE = {'se': 3, 'cbam': 2, 'skip_connect': 0}


def new_study(folder, *, directions=('maximize',), settings=None, space=SPACE, **options):
    return Study(
        folder,
        directions=directions,
        settings=settings or {'seed': 0},
        suggest=lambda trial: suggest_genotype(trial, **space),
        **options,
    )


def count_se(claim):
    """The number of edges with ``se`` and, in a study with a cost, the price of all edges."""
    names = [name for row in claim.proposal.edges for name in row]
    value, cost = names.count('se'), sum(PRICE[name] for name in names)
    claim.trial.set_user_attr('metrics', {'se': value})
    claim.trial.set_user_attr('cost', cost)
    return [value, cost][: len(claim.trial.study.directions)]


def waiting(count):
    return {number: {} for number in range(count)}


@pytest.mark.skipif(os.name != 'posix', reason='needs locks on files')
@pytest.mark.parametrize('storage', ['study.journal', 'sqlite:///study.db'])
def test_two_processes_one_of_them_killed(tmp_path, monkeypatch, storage):
    """Nothing is lost, and only the trial that was running is started again."""
    command = [sys.executable, str(SCRIPT), 'study, joined', storage]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    processes = [subprocess.Popen(command, cwd=tmp_path, env=environment) for _ in range(2)]
    victim, other = processes

    def starts():
        files = sorted((tmp_path / 'study, joined').glob('trial_*/starts'))
        return {file.parent.name: file.read_text().split() for file in files}

    deadline = time.monotonic() + 60
    while sum([str(victim.pid)] in [pids] for pids in starts().values()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    assert other.wait(60) == 0 and victim.wait() == -signal.SIGKILL

    started = starts()
    interrupted = [trial for trial, pids in started.items() if len(pids) > 1]
    assert len(started) == 12 and len(interrupted) <= 1, 'it may have been killed between two trials'
    assert all(started[trial] == [str(victim.pid), str(other.pid)] for trial in interrupted)
    assert {str(victim.pid), str(other.pid)} == {pid for pids in started.values() for pid in pids}
    monkeypatch.chdir(tmp_path)
    study = new_study(tmp_path / 'study, joined', storage=storage)
    assert sorted(study.complete) == list(range(12)) and len(study.study.trials) == 12
    for number, genotype in enumerate(sample_genotypes(12, **SPACE)):
        assert from_parameters(study.complete[number].params, 2) == genotype
        assert study.complete[number].values == [list(to_parameters(genotype).values()).count('se')]


def test_the_pareto_front_of_a_whole_space(tmp_path):
    """27 genotypes. With n edges ``se``, the cheapest have skip-connections elsewhere: 1 + 3 + 3 + 1 of them."""
    study = new_study(tmp_path, directions=['maximize', 'minimize'])
    study.plan(dict(enumerate(map(to_parameters, sample_genotypes(27, **SPACE)))))
    assert study.run(count_se, range(27)) == 27
    rows = rank(study, Metric('se', 'se'), 'cost', 2)
    front = [row for row in rows if row['front']]
    assert Counter((row['se'], row['cost']) for row in front) == {(3, 9): 1, (2, 6): 3, (1, 3): 3, (0, 0): 1}
    assert {name for row in front for names in row['genotype'] for name in names} == {'se', 'skip_connect'}
    assert [row['se'] for row in rows] == sorted((row['se'] for row in rows), reverse=True)
    assert all(sum(PRICE[name] for names in row['genotype'] for name in names) == row['cost'] for row in rows)
    with pytest.raises(ValueError, match="No run measured 'AP'; measured were: se"):
        pick_study_metric(study, 'AP')


@pytest.mark.parametrize('sampler', ['tpe', 'nsga2'])
def test_a_sampler_finds_more_than_chance(tmp_path, sampler):
    """The mean of the last 20 of 50 proposals against 1 ``se`` of 3 edges by chance."""
    study = new_study(tmp_path, sampler=sampler)
    study.plan(waiting(50))
    study.run(count_se, range(50))
    values = [trial.values[0] for trial in study.complete.values()]
    assert sum(values[30:]) / 20 > 1.7


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_interruptions_change_no_proposal(tmp_path, sampler):
    """The seed of a trial is its own: processes do not repeat each other's proposals, or their own after a start."""
    whole = new_study(tmp_path / 'whole', sampler=sampler)
    whole.plan(waiting(8))
    whole.run(count_se, range(8))
    for until in (3, 5, 8):
        part = new_study(tmp_path / 'parts', sampler=sampler)
        part.plan(waiting(until))
        part.run(count_se, range(until))
    params = [trial.params for trial in whole.complete.values()]
    assert params == [trial.params for trial in part.complete.values()]
    assert len({tuple(one.values()) for one in params}) > 4


def test_a_proposal_is_evaluated_once(tmp_path):
    study = new_study(tmp_path, space=dict(num_groups=1, primitives=['se', 'cbam']), sampler='tpe')
    study.plan(waiting(6))
    seen = []
    study.run(lambda claim: seen.append(claim.proposal) or count_se(claim), range(6))
    assert len(seen) == len(set(seen)) <= 2 and len(study.complete) == 6
    for trial in study.complete.values():
        assert trial.values == [trial.params['o_0_0'] == 'se'] and 'metrics' in trial.user_attrs


def test_a_failed_trial_is_reported_and_repeated_by_the_next_start(tmp_path):
    def fails(claim):
        if claim.number == 1:
            raise TrialError('trial 1 failed: out of memory')
        return count_se(claim)

    study = new_study(tmp_path)
    study.plan(waiting(3))
    lines = []
    assert study.run(fails, range(3), lines.append) == 3
    assert lines == ['trial 0: done', 'trial 1: failed', 'trial 2: done']
    assert study.failures == ['trial 1 failed: out of memory'] and sorted(study.complete) == [0, 2]
    failed = study.trials[1]
    assert failed.state is TrialState.FAIL and failed.user_attrs['error'] == study.failures[0]

    again = new_study(tmp_path)
    again.plan(waiting(3))
    assert again.run(count_se, range(3)) == 1
    assert sorted(again.complete) == [0, 1, 2] and again.trials[1].params == failed.params
    assert again.trials[1].number == 3, 'Optuna keeps the failure as its trial 1'


def test_a_value_that_is_not_a_number_is_a_failure(tmp_path):
    study = new_study(tmp_path)
    study.plan(waiting(1))
    study.run(lambda claim: [float('nan')], [0])
    assert study.failures == ['trial 0 ended with the values [nan].']


@pytest.mark.parametrize('error', [TrialStopped('trial 0 was stopped'), ZeroDivisionError()])
def test_an_interrupted_trial_is_continued_by_the_next_start(tmp_path, error):
    def stop(claim):
        (claim.folder / 'checkpoint').touch()
        raise error

    study = new_study(tmp_path)
    study.plan(waiting(1))
    if isinstance(error, TrialStopped):
        study.run(stop, [0])
    else:
        with pytest.raises(ZeroDivisionError):
            study.run(stop, [0])
    params = study.in_state(TrialState.RUNNING)[0].params
    assert study.claim([0]) is None, 'not twice in one process'

    again = new_study(tmp_path)
    claim = again.claim([0])
    assert (claim.folder / 'checkpoint').exists() and claim.trial.params == params
    assert new_study(tmp_path).claim([0]) is None, 'it is being run'
    assert new_study(tmp_path).elsewhere([0]) == [0]
    again.settle(claim, lambda: [1])
    assert again.complete[0].values == [1] and new_study(tmp_path).claim([0]) is None


def test_a_pruned_trial_is_over(tmp_path):
    def prune(claim):
        claim.trial.report(0.5, 1)
        raise optuna.TrialPruned

    study = new_study(tmp_path, pruner='asha')
    study.plan(waiting(1))
    study.run(prune, [0])
    assert study.trials[0].state is TrialState.PRUNED and not study.failures and new_study(tmp_path).claim([0]) is None


def test_other_settings_are_refused(tmp_path):
    new_study(tmp_path, settings={'seed': 0, 'epochs': None})
    with pytest.raises(StudyError, match='belongs to other trials: epochs is None there and 3 here'):
        new_study(tmp_path, settings={'seed': 0, 'epochs': 3})
    (tmp_path / 'trials.json').write_text('{"seed"')
    with pytest.raises(StudyError, match='does not hold the settings'):
        new_study(tmp_path)


def test_a_storage_with_trials_in_another_folder_is_refused(tmp_path):
    storage = str(tmp_path / 'shared.journal')
    new_study(tmp_path / 'a/digits', storage=storage)
    new_study(tmp_path / 'a/digits', storage=storage)
    new_study(tmp_path / 'b/faces', storage=storage)
    with pytest.raises(StudyError, match=r"holds another study named 'digits', whose trials are not in .*/c/digits"):
        new_study(tmp_path / 'c/digits', storage=storage)


def test_what_optuna_cannot_do_is_refused(tmp_path):
    with pytest.raises(StudyError, match="'asha' needs a study with one objective, and this one has 2"):
        new_study(tmp_path, directions=['maximize', 'minimize'], pruner='asha')
    with pytest.raises(StudyError, match='The storage nosuch://x cannot be opened'):
        new_study(tmp_path, storage='nosuch://x')
