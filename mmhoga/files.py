"""Atomic writes, the last checkpoint of a folder, and suggestions for misspelt paths (standard library only)."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path

_STEP = re.compile(r'(?!best_).*_\d+\.pth')  # epoch_3.pth; others hold no state to resume from
_LEFTOVER = re.compile(r'\..+\.\d+-[0-9a-f]{32}\.tmp')


def write_atomic(path: str | os.PathLike, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` atomically.

    The content is written to a temporary file beside ``path``, synced to disk and renamed. At any moment, even after a
    kill, ``path`` holds the old content or the new. If anything fails, the old file is untouched and the temporary one
    is removed.

    Raises:
        OSError: the folder does not exist or the file system refuses.
    """
    path = Path(path)
    # 'x' never overwrites a file. open() applies the umask; tempfile would set the permissions to 0600.
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
    """Remove and return the temporary files of writers that were killed. No other process may be writing there."""
    found = [path for path in Path(folder).glob('.*.tmp') if _LEFTOVER.fullmatch(path.name)]
    for path in found:
        path.unlink()
    return found


def last_checkpoint(work_dir: str | os.PathLike) -> Path | None:
    """The checkpoint that ``work_dir/last_checkpoint`` names, or None without that file.

    The file holds the path at the time of saving. The checkpoint of that name inside work_dir comes first: in a copied
    or moved work_dir the path is that of the original. The path itself serves runs that save elsewhere (``out_dir``).

    Raises:
        FileNotFoundError: the file names no checkpoint that exists.
    """
    record = Path(work_dir, 'last_checkpoint')
    if not record.is_file():
        return None
    text = record.read_text(encoding='utf-8', errors='replace').strip()
    named = Path(text)
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        for path in (record.with_name(named.name), named) if named.name not in ('', '..') else ():
            if path.exists():
                return path
    found = [path for path in record.parent.glob('*.pth') if _STEP.fullmatch(path.name)]
    saved = sorted(found, key=lambda path: path.stat().st_mtime)
    hint = f' The newest checkpoint there is {saved[-1].name}.' if saved else ''
    raise FileNotFoundError(
        f'{record} names {text[:200]!r}, and there is no such file, here or there.{hint} Name a checkpoint '
        f'(--resume CHECKPOINT), or remove {record} to start from scratch.'
    )


def near_names(path: Path, others: Sequence[str] = ()) -> str:
    """A sentence that suggests names like the first missing part of a path, and those of ``others`` like its stem."""
    near = difflib.get_close_matches(path.stem, others, n=3)
    path = path.absolute()
    while not path.parent.exists():
        path = path.parent
    siblings = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    near = [*(str(path.parent / name) for name in difflib.get_close_matches(path.name, siblings, n=3)), *near]
    if near:
        return f' Did you mean {" or ".join(near)}?'
    return f' {path.parent} contains no similar name.'
