"""Runs of tools/train.py that other commands start: a command line, where it writes, whether it is done."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mmengine.config import Config

from mmhoga.report.runs import read_run

try:
    import fcntl
except ImportError:  # Windows: nobody watches for a second start there
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent.parent.parent


class JobError(Exception):
    """A run failed, or is going on elsewhere; the message says which, and where its log is."""


class JobRunningError(JobError):
    """Another process runs the very same job."""


@dataclass(frozen=True)
class Job:
    """One run of ``tools/train.py``.

    Attributes:
        name: for the console.
        config: relative to the checkout, or absolute.
        work_dir: where it writes.
        options: for ``--cfg-options``.
        metric: what its last validation must have measured for it to be done; by default anything.
        last_step: its last epoch (or iteration, in a run by iterations), where that is known; else the config is read.
    """

    name: str
    config: str
    work_dir: Path
    options: dict[str, object] = field(default_factory=dict)
    metric: str | None = None
    last_step: int | None = None

    @property
    def command(self) -> list[str]:
        """With ``--resume``: a run that was stopped goes on, a new one starts."""
        options = [f'{key}={value}' for key, value in self.options.items()]
        return [
            sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / self.config),
            '--work-dir', str(self.work_dir), '--resume', *(['--cfg-options', *options] if options else []),
        ]  # fmt: skip

    @property
    def typed(self) -> str:
        """The command as a person would type it in the checkout."""
        python, _, _, *rest = self.command
        return shlex.join([Path(python).name, 'tools/train.py', self.config, *map(_relative, rest)])

    @property
    def epochs(self) -> int:
        config = Config.fromfile(ROOT / self.config, import_custom_modules=False)
        config.merge_from_dict(self.options)
        return config.train_cfg.max_epochs

    def done(self) -> bool:
        """Whether the last epoch has been validated."""
        try:
            run = read_run(self.work_dir)
        except FileNotFoundError:
            return False
        wanted = {self.metric} if self.metric else set(run.metrics)
        last = self.epochs if self.last_step is None else self.last_step
        return any(wanted & set(row) and row['step'] >= last for row in run.val)

    def result(self, metric: str) -> float | None:
        """What the last validation measured."""
        return read_run(self.work_dir).final(metric)

    def run(self, threads: int, watch: Callable[[str], None] | None = None, cwd: Path = ROOT) -> None:
        """Run to the end; ``watch`` sees every line of the output, which goes to ``console.log`` in the work_dir.

        Args:
            threads: of OpenMP.
            watch: called with each line.
            cwd: where paths in the config start.

        Raises:
            JobRunningError: another process runs it, be it one whose parent was killed.
            JobError: with the end of the output.
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
                cwd=cwd,
                pass_fds=inherited,
            ) as process,
        ):
            for line in process.stdout or ():
                file.write(line)
                lines = [*lines[-14:], line]
                if watch:
                    watch(line)
        if process.returncode:
            raise JobError(f'{self.name} failed (exit code {process.returncode}). {log} ends:\n\n{"".join(lines)}')

    @contextmanager
    def _lock(self) -> Iterator[list[int]]:
        """Held by this process and by the run that inherits it: to the end of both."""
        if fcntl is None:
            yield []
            return
        with (self.work_dir / '.lock').open('w') as file:
            _lock_file(file, f'{self.name} is being run by another process (work_dir {self.work_dir}).')
            yield [file.fileno()]


def _lock_file(file: IO, message: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JobRunningError(message) from None
    except OSError:  # a network file system without locks
        return


def _relative(argument: str) -> str:
    """Paths inside the working directory as a person would write them."""
    here = f'{Path.cwd()}{os.sep}'
    return argument.replace(here, '')
