"""Trainings that other commands start as processes: ``mmhoga train`` with a config, options and a work_dir."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

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
    """One run of ``mmhoga train``.

    Attributes:
        name: for the console.
        config: path or name.
        work_dir: absolute.
        options: for ``--cfg-options``.
        metric: the job is done when the last epoch has measured this metric (default: any metric).
    """

    name: str
    config: str
    work_dir: Path
    options: dict[str, Any] = field(default_factory=dict)
    metric: str | None = None

    @property
    def arguments(self) -> list[str]:
        """Arguments of ``mmhoga``. ``--resume`` continues a job that was stopped."""
        options = [option_text(key, value) for key, value in self.options.items()]
        arguments = ['train', self.config, '--work-dir', from_here(self.work_dir), '--resume']
        return [*arguments, '--cfg-options', *options] if options else arguments

    @property
    def command(self) -> list[str]:
        return [sys.executable, '-m', 'mmhoga', *self.arguments]

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
        wanted, last = {self.metric} if self.metric else set(run.metrics), self.last_step
        return any(wanted & set(row) and row['step'] >= last for row in run.val)

    def result(self, metric: str) -> float | None:
        """The metric at the last validation."""
        return read_run(self.work_dir).final(metric)

    def run(
        self, threads: int, watch: Watch | None = None, on_start: Callable[[subprocess.Popen], None] | None = None
    ) -> None:
        """Run to the end. The output goes to ``console.log`` in the work_dir.

        Args:
            threads: number of OpenMP threads.
            watch: called with each line of the output.
            on_start: called with the process.

        Raises:
            JobRunningError: another process runs this job, possibly one whose parent was killed.
            JobError: the job failed.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        log = self.work_dir / 'console.log'
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONUNBUFFERED': '1'}
        lines: list[str] = []
        with (
            self._lock() as inherited,
            log.open('w') as file,
            subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                pass_fds=inherited,
            ) as process,
        ):
            if on_start:
                on_start(process)
            for line in process.stdout or ():
                file.write(line)
                lines = [*lines[-14:], line]
                if watch:
                    watch(line)
        if process.returncode:
            raise JobError(f'{self.name} failed (exit code {process.returncode}). {log} ends:\n\n{"".join(lines)}')

    @contextmanager
    def _lock(self) -> Iterator[list[int]]:
        """Lock the work_dir. The process inherits the lock, which lasts until both it and this process have ended."""
        if fcntl is None:
            yield []
            return
        with (self.work_dir / '.lock').open('w') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f'{self.name} is being run by another process (work_dir {self.work_dir}).'
                raise JobRunningError(message) from None
            except OSError:  # a network file system without locks
                pass
            yield [file.fileno()]


class JobPool:
    """Runs jobs side by side. Leaving the ``with`` block early, also on SIGTERM, ends the jobs that still run."""

    def __init__(self, side_by_side: int):
        self.side_by_side = max(1, side_by_side)
        self._executor = ThreadPoolExecutor(self.side_by_side)
        self._futures: dict[Future[float], Job] = {}
        self._processes: list[subprocess.Popen] = []
        self._stopped = False

    def submit(self, job: Job, watch: Watch | None = None) -> None:
        self._futures[self._executor.submit(self._run, job, watch)] = job

    def finished(self) -> Iterator[tuple[Job, Future[float]]]:
        """Each job when it has ended, with the future of its duration in seconds. More may be submitted meanwhile."""
        while self._futures:
            for future in wait(self._futures, return_when=FIRST_COMPLETED).done:
                yield self._futures.pop(future), future

    def _run(self, job: Job, watch: Watch | None) -> float:
        cores = int(os.environ.get('OMP_NUM_THREADS') or os.cpu_count() or 1)
        start = time.monotonic()
        job.run(max(1, cores // self.side_by_side), watch, self._started)
        return time.monotonic() - start

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
