"""Trainings as processes: locks, and how they end."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmhoga.cli.run.jobs import Job, JobPool, JobRunningError, JobStoppedError
from mmhoga.studies.locks import lock_file


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
    with lock_file(tmp_path / '.lock') as lock:
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


def test_a_job_that_somebody_stops_has_not_failed(tmp_path, sleeping):
    job = Job('trial 0', 'any.py', tmp_path)
    with pytest.raises(JobStoppedError, match=r'trial 0 was stopped \(exit code -15\)'):
        job.run(1, on_start=lambda process: process.terminate())


def test_an_error_while_watching_ends_the_process(tmp_path, sleeping):
    processes = []
    with pytest.raises(ZeroDivisionError):
        Job('trial 0', 'any.py', tmp_path).run(1, lambda line: 1 / 0, processes.append)
    assert processes[0].poll() == -signal.SIGTERM


def test_a_lock_that_is_held_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(Job, 'command', [sys.executable, '-c', ''])
    with lock_file(tmp_path / '.lock') as lock:
        with pytest.raises(JobRunningError):
            Job('trial 0', 'any.py', tmp_path).run(1)
        Job('trial 0', 'any.py', tmp_path, lock=lock).run(1)
        assert lock_file(tmp_path / '.lock') is None, 'it is still held'


PARENT = """
import os, subprocess, sys, time
code = f'from mmhoga.cli.run.child import end_with; end_with({os.getpid()}); print("up", flush=True)'
command = [sys.executable, '-c', code + '; import time; time.sleep(60)']
child = subprocess.Popen(command, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells a process that its parent has ended')
def test_a_child_ends_with_a_parent_that_is_killed():
    with subprocess.Popen([sys.executable, '-c', PARENT], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        os.kill(pid, 0)  # raises if there is no such process
        process.kill()
    state = Path(f'/proc/{pid}/stat')
    deadline = time.monotonic() + 20
    while state.exists() and state.read_text().split()[2] != 'Z' and time.monotonic() < deadline:
        time.sleep(0.02)
    assert time.monotonic() < deadline


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells a process that its parent has ended')
def test_a_child_whose_parent_has_ended_before_does_not_start():
    code = 'from mmhoga.cli.run.child import end_with; end_with(1)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 143
