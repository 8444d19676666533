"""Checkpoints that cannot run code: a reader that builds only plain data, and files that need no special reader.

A checkpoint is a pickle, and a pickle is a program: it names functions and calls them. :func:`read_checkpoint` never
imports or calls what a file names. It builds tensors, numpy arrays of numbers and strings, plain containers, and
mmengine's ``HistoryBuffer`` and ``ConfigDict``, each by a function of this package that checks its input. Anything else
becomes an :class:`Unknown`, which holds a name and does nothing.

* :mod:`.containers`: the files that ``torch.save`` writes, and the storages in them.
* :mod:`.interpreter`: the instructions of a pickle.
* :mod:`.names`, :mod:`.arrays`: the objects that a pickle may contain, and the checks of what they are built from.
* :mod:`.plain`: checkpoints in types that ``torch.load(weights_only=True)`` reads, and back.
* :mod:`.host_files`: makes mmengine read and write its files with these functions.
"""

from mmhoga.compat.checkpoint.containers import read_checkpoint
from mmhoga.compat.checkpoint.objects import CheckpointError, Unknown
from mmhoga.compat.checkpoint.plain import plain_checkpoint

__all__ = ['CheckpointError', 'Unknown', 'plain_checkpoint', 'read_checkpoint']
