"""Two runs started in one work_dir: the second one is refused, and a killed one blocks nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmhoga.cli.run import distributed, lock
from mmhoga.cli.train import train_main

# Holds the lock, and starts a process that outlives it, as a worker of a data loader may.
HOLDER = """
import os, sys, time
from mmhoga.cli.run.lock import locked
with locked(sys.argv[1]):
    worker = os.fork()
    if worker == 0:
        time.sleep(60)
        os._exit(0)
    print(worker, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(root, tmp_path):
    """A process that holds the lock of ``tmp_path / 'run'``, and the id of its own child."""
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', HOLDER, tmp_path / 'run'],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(root)},
    )
    worker = int(process.stdout.readline())
    yield process, worker
    process.kill()
    os.kill(worker, 9)
    process.communicate()


def test_the_second_run_is_refused_until_the_first_is_killed(holder, tmp_path, capsys):
    process, _ = holder
    work_dir = tmp_path / 'run'
    before = {path: path.read_bytes() for path in work_dir.iterdir()}
    assert train_main(['hoga-resnet8_1xb96-8e_digits', '--work-dir', str(work_dir)]) == 2
    error = capsys.readouterr().err
    assert f'error: another run is working in {work_dir} (process {process.pid} on ' in error
    assert error.count('\n') == 1 and '--work-dir' in error
    assert {path: path.read_bytes() for path in work_dir.iterdir()} == before
    process.kill()
    process.wait()
    with lock.locked(work_dir) as note:  # though the killed process has left a child
        assert note is None
        assert f'process {os.getpid()} on ' in (work_dir / lock.LOCK).read_text()


def test_only_the_first_process_of_a_launch_locks(monkeypatch):
    assert distributed.is_main_process('none')
    for launcher, (rank, *_) in distributed.VARIABLES.items():
        for number in (0, 1):
            monkeypatch.setenv(rank, str(number))
            assert distributed.is_main_process(launcher) == (number == 0)


def test_a_file_system_without_locks_gives_a_note(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, 'No locks available')

    monkeypatch.setattr(lock.fcntl, 'lockf', refuse)
    with lock.locked(tmp_path) as note:
        assert note == f'{tmp_path} cannot be locked (No locks available): a second run in it would not be noticed.'


@pytest.mark.parametrize('place', ['file', 'below a file', 'a read-only disk'])
def test_a_work_dir_that_cannot_be_written(tmp_path, monkeypatch, capsys, place):
    work_dir = tmp_path / 'taken'
    if place == 'a read-only disk':

        def refuse(*_, **__):
            raise OSError(30, 'Read-only file system')

        monkeypatch.setattr(Path, 'mkdir', refuse)
    else:
        work_dir.write_text('')
    if place == 'below a file':
        work_dir /= 'run'
    assert train_main(['hoga-resnet8_1xb96-8e_digits', '--work-dir', str(work_dir)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: the work_dir {work_dir} cannot be written: ') and error.count('\n') == 1
