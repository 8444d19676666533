"""Random search and repeated searches: sampling, running, resuming and summaries."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from mmhoga.cli.run.jobs import Job, JobError, JobPool, JobRunningError, _locked
from mmhoga.cli.trials import random_search_main, repeat_search_main
from mmhoga.genotype import BUILTIN, PRIMITIVES, Genotype, edge_list, uniform
from mmhoga.search.studies.agreement import agreement
from mmhoga.search.studies.sampling import sample_genotypes

ROOT = Path(__file__).resolve().parent.parent.parent
TRAIN = str(ROOT / 'configs/digits/hoga-resnet8_1xb96-8e_digits.py')
SEARCH = str(ROOT / 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py')


def write_run(job, values, metric='accuracy/top1'):
    """Write the log of a training with a validation per epoch."""
    folder = job.work_dir / '20250101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    rows = [{'epoch': 1, 'iter': 1, 'step': 1, 'loss': 1.0}]
    rows += [{metric: value, 'step': epoch} for epoch, value in enumerate(values, start=1)]
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))


@pytest.fixture
def fake(monkeypatch):
    """Trials that write logs and train nothing. Those in ``fails`` fail."""
    started, fails = [], set()

    def run(self, threads, watch=None, on_start=None):
        number = int(self.work_dir.name[-3:])
        started.append(number)
        if number in fails:
            raise JobError(f'{self.name} failed (exit code 1).')
        write_run(self, [0.0] * 7 + [50.0 + (number * 37) % 10])

    monkeypatch.setattr(Job, 'run', run)
    return started, fails


def test_samples_are_distinct_seeded_and_even():
    genotypes = sample_genotypes(400, seed=3)
    assert len(set(genotypes)) == 400 and genotypes[:50] == sample_genotypes(50, seed=3)
    assert genotypes[:50] != sample_genotypes(50, seed=4)
    for j, k in edge_list(4):
        counts = Counter(genotype.operation(j, k) for genotype in genotypes)
        assert set(counts) == set(PRIMITIVES) - {'none'}
        assert sum((n - 50) ** 2 / 50 for n in counts.values()) < 24.3, 'chi-squared, 7 degrees of freedom, p = 0.001'
    assert genotypes[7].meta == {'trial': 7, 'sampling_seed': 3}


def test_a_space_can_be_exhausted():
    assert len(set(sample_genotypes(8, num_groups=2, primitives=['none', 'se', 'cbam']))) == 8
    with pytest.raises(ValueError, match='There are 8 genotypes with K = 2 and 2 candidates, not 9'):
        sample_genotypes(9, num_groups=2, primitives=['se', 'cbam'])
    with pytest.raises(ValueError, match="unknown operation 'sse'"):
        sample_genotypes(1, primitives=['sse'])


def test_agreement_of_three():
    one, other = BUILTIN['autola'], BUILTIN['autola_release']
    found = agreement([one, one, other])
    assert found.pairwise == pytest.approx((10 + 9 + 9) / 30)
    assert found.edges[2, 3] == [('spatial_3x3', 2), ('norm_3x3', 1)] and found.majority() == one
    assert agreement([uniform('se'), uniform('cbam')]).pairwise == 0
    with pytest.raises(ValueError, match='K = 2, 4'):
        agreement([uniform('se', 2), one])
    with pytest.raises(ValueError, match='found 1'):
        agreement([one])


def test_random_search_ranks_what_has_finished(tmp_path, fake, capsys):
    started, fails = fake
    fails.add(2)
    command = [TRAIN, '--work-dir', str(tmp_path), '--trials', '4']
    assert random_search_main(command) == 2, 'a trial failed'
    out, err = capsys.readouterr()
    assert started == [0, 1, 2, 3] and '1 of 4 trials failed; the first: trial 2 failed' in err
    assert '3 of 4 trials are done' in out

    fails.clear()
    assert random_search_main(command) == 0
    out = capsys.readouterr().out
    assert started[4:] == [2] and '3 of 4 trials are already done' in out
    ranking = json.loads((tmp_path / 'ranking.json').read_text())
    values = [row['accuracy/top1'] for row in ranking['trials']]
    assert values == sorted(values, reverse=True) == [57.0, 54.0, 51.0, 50.0]
    assert [row['trial'] for row in ranking['trials']] == [1, 2, 3, 0]
    sampled = sample_genotypes(4)
    assert all(Genotype(row['genotype']) == sampled[row['trial']] for row in ranking['trials'])
    assert Genotype.load(tmp_path / 'trial_003/genotype.json') == sampled[3]

    assert random_search_main([*command[:-1], '6']) == 0, 'more trials add to fewer'
    assert started[5:] == [4, 5]


def test_a_trial_alone_and_a_summary(tmp_path, fake, capsys):
    started, _ = fake
    command = [TRAIN, '--work-dir', str(tmp_path)]
    assert random_search_main([*command, '--summary']) == 0 and not started
    assert 'No trial of 8 is done yet' in capsys.readouterr().out
    assert random_search_main([*command, '--trial', '5']) == 0 and started == [5]
    assert '1 of 8 trials are done' in capsys.readouterr().out
    assert random_search_main([*command, '--trial', '8']) == 2
    assert 'there are 0 to 7' in capsys.readouterr().err
    assert random_search_main([*command, '--summary', '--metric', 'coco/AP']) == 2
    assert "--metric: No run measured 'coco/AP'; measured were: accuracy/top1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--seed', '1'], 'belongs to other trials: seed is 0 there and 1 here'),
        (['--cfg-options', 'train_cfg.max_epochs=2'], 'cfg_options is'),
        (['--trials', '9', '--num-groups', '1'], 'There are 8 genotypes'),
    ],
)
def test_another_random_search_is_refused(tmp_path, fake, capsys, arguments, message):
    assert random_search_main([TRAIN, '--work-dir', str(tmp_path), '--trials', '1']) == 0
    assert random_search_main([TRAIN, '--work-dir', str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_config_without_hoga(tmp_path, capsys):
    assert random_search_main([SEARCH, '--work-dir', str(tmp_path)]) == 2
    assert 'no plugin of type mmhoga.HOGA' in capsys.readouterr().err


def test_a_repeated_search_compares_its_genotypes(tmp_path, fake, capsys, monkeypatch):
    fake_run = Job.run

    def run(self, *args, **kwargs):
        fake_run(self, *args, **kwargs)
        assert self.options['randomness.seed'] == 10 + int(self.work_dir.name[-3:])
        name = 'autola' if self.options['randomness.seed'] != 12 else 'autola_release'
        Genotype(BUILTIN[name].edges, {'primitives': list(PRIMITIVES)}).save(self.work_dir / 'genotype.json')

    monkeypatch.setattr(Job, 'run', run)
    assert repeat_search_main([SEARCH, '--work-dir', str(tmp_path), '--trials', '3', '--seed', '10']) == 0
    out = capsys.readouterr().out
    assert '3 of 3 searches are done' in out
    assert 'the same operation on 93% of the edges, on average (by chance 12%)' in out
    assert '2 x spatial_3x3, 1 x norm_3x3' in out


def test_one_job_is_not_run_twice_at_once(tmp_path, monkeypatch):
    """Not even if the parent of the running process was killed: the process inherits the lock."""
    job = Job('trial 0', 'any.py', tmp_path)
    child = 'import time; print("up", flush=True); time.sleep(0.5)'
    monkeypatch.setattr(Job, 'command', [sys.executable, '-c', child])
    messages = []

    def again(line):
        with pytest.raises(JobRunningError, match='trial 0 is being run by another process'):
            Job('trial 0', 'any.py', tmp_path).run(threads=1)
        messages.append(line)

    job.run(threads=1, watch=again)
    assert messages == ['up\n']
    with (tmp_path / '.lock').open('w') as lock:
        assert _locked(lock)
        inherited = [lock.fileno()]
        orphan = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, pass_fds=inherited)
    with pytest.raises(JobRunningError):
        job.run(threads=1)
    orphan.communicate(b'\n')
    job.run(threads=1)


@pytest.fixture
def sleeping(monkeypatch):
    """Jobs whose process sleeps for a minute."""
    child = 'import time; print("up", flush=True); time.sleep(60)'
    monkeypatch.setattr(Job, 'command', [sys.executable, '-c', child])


def test_sigterm_ends_the_jobs_too(tmp_path, sleeping):
    up = threading.Event()
    with pytest.raises(SystemExit) as error, JobPool(2) as pool:
        for number in range(3):
            pool.submit(Job(f'trial {number}', 'any.py', tmp_path / str(number)), lambda line: up.set())
        assert up.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)
        list(pool.finished())
    assert error.value.code == 143
    assert all(process.poll() is not None for process in pool._processes)
    assert not (tmp_path / '2').exists(), 'the third job was still waiting'
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_error_ends_the_other_jobs(tmp_path, sleeping):
    up = threading.Event()
    with pytest.raises(ZeroDivisionError), JobPool(1) as pool:
        pool.submit(Job('trial 0', 'any.py', tmp_path), lambda line: up.set())
        assert up.wait(30)
        raise ZeroDivisionError
    assert pool._processes[0].poll() == -signal.SIGTERM


def test_killed_and_resumed(tmp_path):
    """Killed in its first trial, the same command ends with a ranked table, in a folder with blanks and commas."""
    command = [
        sys.executable, '-W', 'ignore', '-m', 'mmhoga', 'random-search', Path(TRAIN).stem, '--trials', '2',
        '--work-dir', 'rand', '--primitives', 'se', 'skip_connect', '--cfg-options', 'train_cfg.max_epochs=2',
    ]  # fmt: skip
    folder = tmp_path / 'my runs, new'
    folder.mkdir()
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    first = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
    deadline = time.monotonic() + 240
    while not (folder / 'rand/trial_000/last_checkpoint').exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    table = second.stdout[second.stdout.index('rank  trial') :].splitlines()
    assert len(table) == 4 and table[-1].startswith('2 of 2 trials are done')
    assert 'resumed epoch' in (folder / 'rand/trial_000/console.log').read_text()
