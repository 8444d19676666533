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

try:
    import fcntl
except ImportError:  # Windows: a second start of the same job is not detected there
    fcntl = None  # type: ignore[assignment]

Watch = Callable[[str], None]


class JobError(Exception):
    """A job failed. The message includes the path and the end of its log."""


class JobRunningError(JobError):
    """Another process runs the same job."""


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

    @property
    def command(self) -> list[str]:
        """The command that starts the job or, if it was stopped, continues it."""
        arguments = [self.config, '--work-dir', from_here(self.work_dir), '--resume']
        if self.options:
            arguments += ['--cfg-options', *(option_text(key, value) for key, value in self.options.items())]
        return [sys.executable, '-m', 'mmhoga', 'train', *arguments]

    @property
    def typed(self) -> str:
        """The command as a person would type it."""
        return shlex.join(self.command[2:])

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

    def run(
        self, threads: int, watch: Watch | None = None, on_start: Callable[[subprocess.Popen], None] | None = None
    ) -> float:
        """Run to the end, with this number of OpenMP threads, and return the seconds.

        The output goes to ``console.log`` in the work_dir and, line by line, to ``watch``.

        Raises:
            JobRunningError: another process runs this job, possibly one whose parent was killed.
            JobError: the job failed.
        """
        start = time.monotonic()
        self.work_dir.mkdir(parents=True, exist_ok=True)
        log = self.work_dir / 'console.log'
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONUNBUFFERED': '1'}
        pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        last_lines: deque[str] = deque(maxlen=15)
        with (self.work_dir / '.lock').open('w') as lock:
            if not _locked(lock):
                raise JobRunningError(f'{self.name} is being run by another process (work_dir {self.work_dir}).')
            # The process inherits the lock, which lasts until both it and this process have ended.
            inherited = [lock.fileno()] if fcntl else []
            with log.open('w') as file, subprocess.Popen(self.command, pass_fds=inherited, **pipes) as process:
                if on_start:
                    on_start(process)
                for line in process.stdout or ():
                    file.write(line)
                    last_lines.append(line)
                    if watch:
                        watch(line)
        if process.returncode:
            end = ''.join(last_lines)
            raise JobError(f'{self.name} failed (exit code {process.returncode}). {log} ends:\n\n{end}')
        return time.monotonic() - start


def _locked(file: IO[str]) -> bool:
    """Lock a file. False if another process has locked it; file systems without locks count as free."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


class JobPool:
    """Runs jobs side by side. Leaving the ``with`` block early, also on SIGTERM, ends the jobs that still run."""

    def __init__(self, side_by_side: int):
        cores = int(os.environ.get('OMP_NUM_THREADS') or os.cpu_count() or 1)
        self._threads = max(1, cores // side_by_side)
        self._executor = ThreadPoolExecutor(side_by_side)
        self._futures: dict[Future[float], Job] = {}
        self._processes: list[subprocess.Popen] = []
        self._stopped = False

    def submit(self, job: Job, watch: Watch | None = None) -> None:
        self._futures[self._executor.submit(job.run, self._threads, watch, self._started)] = job

    def finished(self) -> Iterator[tuple[Job, Future[float]]]:
        """Each job when it has ended, with the future of its duration in seconds. More may be submitted meanwhile."""
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
