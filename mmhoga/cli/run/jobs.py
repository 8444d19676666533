"""Trainings that other commands start as processes: ``mmhoga train`` with a config, options and a work_dir."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Callable

from mmhoga.cli.run.arguments import option_text
from mmhoga.hosts import load_config
from mmhoga.report.runs import read_run
from mmhoga.studies.locks import lock_file

Watch = Callable[[str], None]
OnStart = Callable[[subprocess.Popen], None]

# Exit codes of a training that somebody ended with Ctrl-C, SIGTERM or the end of the process that started it.
STOPPED = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)


class JobError(Exception):
    """A job failed. The message includes the path and the end of its log."""


class JobRunningError(JobError):
    """Another process runs the same job."""


class JobStoppedError(JobError):
    """Somebody ended the job. The same job started again continues it."""


def from_here(path: Path) -> str:
    """A path below the current folder as a relative one."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


@dataclass(frozen=True)
class Job:
    """One run of ``mmhoga train``, in a work_dir with an absolute path and with ``options`` for ``--cfg-options``."""

    name: str
    config: str
    work_dir: Path
    options: dict[str, Any] = field(default_factory=dict)
    lock: IO[str] | None = None  # a lock that is already held, instead of one on the work_dir

    @property
    def arguments(self) -> list[str]:
        """The arguments of the command that starts the job or, if it was stopped, continues it."""
        arguments = ['train', self.config, '--work-dir', from_here(self.work_dir), '--resume']
        if self.options:
            arguments += ['--cfg-options', *(option_text(key, value) for key, value in self.options.items())]
        return arguments

    @property
    def command(self) -> list[str]:
        """The command of the process, which ends when this process ends."""
        return [sys.executable, '-m', 'mmhoga.cli.run.child', str(os.getpid()), *self.arguments]

    @property
    def typed(self) -> str:
        """The command as a person would type it."""
        return shlex.join(['mmhoga', *self.arguments])

    @property
    def last_step(self) -> int:
        """The epoch (or the iteration) at which the training ends."""
        train_cfg = load_config(self.config, self.options).train_cfg
        return train_cfg.get('max_epochs') or train_cfg.max_iters

    def done(self) -> bool:
        """Whether the last epoch has been validated."""
        try:
            run = read_run(self.work_dir)
        except FileNotFoundError:
            return False
        last = self.last_step
        return any(row['step'] >= last and not row.keys().isdisjoint(run.metrics) for row in run.val)

    def result(self, metric: str) -> float | None:
        """The metric at the last validation."""
        return read_run(self.work_dir).final(metric)

    def run(self, threads: int, watch: Watch | None = None, on_start: OnStart | None = None) -> float:
        """Run to the end, with this number of OpenMP threads, and return the seconds.

        The output goes to ``console.log`` in the work_dir and, line by line, to ``watch``.

        Raises:
            JobRunningError: another process runs this job, possibly one whose parent was killed.
            JobStoppedError: the job was ended by a signal.
            JobError: the job failed.
        """
        start = time.monotonic()
        self.work_dir.mkdir(parents=True, exist_ok=True)
        log = self.work_dir / 'console.log'
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONUNBUFFERED': '1'}
        pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        last_lines: deque[str] = deque(maxlen=15)
        lock = self.lock or lock_file(self.work_dir / '.lock')
        if lock is None:
            raise JobRunningError(f'{self.name} is being run by another process (work_dir {self.work_dir}).')
        try:
            # The process inherits the lock, which lasts until both it and this process have ended.
            inherited = [lock.fileno()] if os.name == 'posix' else []
            with log.open('w') as file, subprocess.Popen(self.command, pass_fds=inherited, **pipes) as process:
                if on_start:
                    on_start(process)
                try:
                    for line in process.stdout or ():
                        file.write(line)
                        last_lines.append(line)
                        if watch:
                            watch(line)
                except BaseException:
                    process.terminate()  # the ``with`` statement waits for the process
                    raise
        finally:
            if lock is not self.lock:
                lock.close()
        if process.returncode in STOPPED:
            raise JobStoppedError(f'{self.name} was stopped (exit code {process.returncode}); see {log}.')
        if process.returncode:
            end = ''.join(last_lines)
            raise JobError(f'{self.name} failed (exit code {process.returncode}). {log} ends:\n\n{end}')
        return time.monotonic() - start


class JobPool:
    """Runs jobs side by side. Leaving the ``with`` block early, also on SIGTERM, ends the processes that still run."""

    def __init__(self, side_by_side: int):
        cores = int(os.environ.get('OMP_NUM_THREADS') or os.cpu_count() or 1)
        self._threads = max(1, cores // side_by_side)
        self._executor = ThreadPoolExecutor(side_by_side)
        self._futures: dict[Future[Any], Any] = {}
        self._processes: list[subprocess.Popen] = []
        self._stopped = False

    def submit(self, job: Job, watch: Watch | None = None) -> None:
        """Run a job. The result of its future is its duration in seconds."""
        self.call(job, lambda threads, on_start: job.run(threads, watch, on_start))

    def call(self, key: object, function: Callable[[int, OnStart], Any]) -> None:
        """Call ``function(threads, on_start)``, which runs a job."""
        self._futures[self._executor.submit(function, self._threads, self._started)] = key

    def finished(self) -> Iterator[tuple[Any, Future[Any]]]:
        """Each job (or key) when it has ended, with its future. More may be submitted meanwhile."""
        while self._futures:
            for future in wait(self._futures, return_when=FIRST_COMPLETED).done:
                yield self._futures.pop(future), future

    def _started(self, process: subprocess.Popen) -> None:
        self._processes.append(process)
        if self._stopped:
            process.terminate()

    def __enter__(self) -> JobPool:
        def stop(number: int, frame: object) -> None:
            raise SystemExit(128 + number)

        self._handler = signal.signal(signal.SIGTERM, stop)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopped = kind is not None
        if self._stopped:
            for process in self._processes:
                process.terminate()
        self._executor.shutdown(cancel_futures=True)
        signal.signal(signal.SIGTERM, self._handler)
