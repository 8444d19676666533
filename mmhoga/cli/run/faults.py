"""Faults of the machine during a run: a full disk, and a worker of a data loader that was killed."""

from __future__ import annotations

import errno
import traceback

from mmhoga.files import last_checkpoint
from mmhoga.hosts import one_paragraph

_FULL = (errno.ENOSPC, errno.EDQUOT)


def fault(work_dir: str, error: Exception) -> str | None:
    """The message for a fault, with the checkpoint from which the run can continue; None for other exceptions."""
    if isinstance(error, OSError) and error.errno in _FULL:
        problem, remedy = f'{error.filename or work_dir}: {error.strerror}.', 'Free disk space'
    elif isinstance(error, RuntimeError) and str(error).startswith('DataLoader worker'):
        problem, remedy = one_paragraph(error), _LESS_MEMORY
    elif isinstance(error, (ConnectionError, EOFError)) and _is_from_a_loader(error):
        problem, remedy = f'A DataLoader worker has ended ({one_paragraph(error)}).', _LESS_MEMORY
    else:
        return None
    try:
        last = last_checkpoint(work_dir) or 'none'
    except FileNotFoundError:
        last = 'none that is whole'
    return f'{problem} The last checkpoint is {last}. {remedy} and continue with --resume.'


_LESS_MEMORY = 'If memory ran out, set fewer num_workers or a smaller batch_size,'


def _is_from_a_loader(error: Exception) -> bool:
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get('__name__') == 'torch.utils.data.dataloader' for frame in frames)
