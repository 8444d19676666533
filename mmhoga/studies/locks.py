"""A lock on a file, which ends with the last process that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: other processes are not kept out there
    fcntl = None  # type: ignore[assignment]


def lock_file(path: Path, *, wait: bool = False) -> IO[str] | None:
    """Lock ``path``, and create it if necessary. Closing the returned file releases the lock.

    The operating system releases the lock of a process that is killed. A child process that inherits the file
    (``pass_fds``) holds the lock as well. File systems without locks count as free.

    Returns:
        The open file; None if another process, or another part of this one, holds the lock and ``wait`` is False.
    """
    file = path.open('w')
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        pass
    return file
