"""A lock on a work_dir, so that two runs do not overwrite each other's results."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmhoga.hosts import LaunchError

try:
    import fcntl
except ImportError:  # Windows: a second run in a folder is not detected there
    fcntl = None  # type: ignore[assignment]

LOCK = '.run.lock'


def require_writable(work_dir: Path) -> None:
    """Create a folder if needed. Raises a LaunchError if it cannot be written."""
    with _reported(work_dir):
        work_dir.mkdir(parents=True, exist_ok=True)
        if not os.access(work_dir, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def _reported(work_dir: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LaunchError(
            f'the work_dir {work_dir} cannot be written: {error.strerror}. Choose another folder (--work-dir).'
        ) from error


@contextmanager
def locked(work_dir: str | os.PathLike) -> Iterator[str | None]:
    """Hold the lock of a folder, which is created if needed. Yields a note for the log if there are no locks.

    This is a record lock of the operating system (``fcntl.lockf``). It ends with the process, however that ends, and
    the workers of data loaders do not inherit it, so a killed run never blocks the next one. It holds between machines
    on NFS; some cluster file systems have no locks. The file stays, and its content is only for the message.

    Raises:
        LaunchError: another run holds the lock, or the folder cannot be written.
    """
    path = Path(work_dir, LOCK)
    with _reported(work_dir):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+', encoding='utf-8')
    note = None
    with file:
        try:
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, by the system
            owner = path.read_text(encoding='utf-8', errors='replace').strip() or 'unknown process'
            raise LaunchError(
                f'another run is working in {work_dir} ({owner}). Wait until it ends, or choose another folder '
                '(--work-dir).'
            ) from error
        except OSError as error:
            note = f'{work_dir} cannot be locked ({error.strerror}): a second run in it would not be noticed.'
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}, since {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
        file.flush()
        yield note
