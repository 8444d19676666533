"""Files that are written whole or not at all (standard library only)."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import uuid
from pathlib import Path

_LEFTOVER = re.compile(r'\..+\.\d+-[0-9a-f]{32}\.tmp')


def write_atomic(path: str | os.PathLike, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) to ``path``: a reader, or a kill at any moment, sees the old file or the new.

    The content goes to a temporary file beside ``path``, reaches the disk, and takes its name in one step. If anything
    fails (a full disk, say), the old file is untouched and the temporary one is removed.

    Raises:
        OSError: the folder does not exist or the file system refuses.
    """
    path = Path(path)
    # O_EXCL: never somebody else's file; the plain mode leaves permissions to the umask, unlike tempfile's 0600.
    temporary = path.with_name(f'.{path.name}.{os.getpid()}-{uuid.uuid4().hex}.tmp')
    try:
        with temporary.open('xb') as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove_leftovers(folder: str | os.PathLike) -> list[Path]:
    """Remove the temporary files of writers that were killed; returns them. Nobody may be writing there meanwhile."""
    found = [path for path in Path(folder).glob('.*.tmp') if _LEFTOVER.fullmatch(path.name)]
    for path in found:
        path.unlink()
    return found


def near_names(path: Path) -> str:
    """A sentence with the names nearest to the first part of ``path`` that does not exist."""
    path = path.absolute()
    while not path.parent.exists():
        path = path.parent
    there = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=3)
    if near:
        return f' Did you mean {" or ".join(str(path.parent / name) for name in near)}?'
    return f' {path.parent} holds nothing of a similar name.'
