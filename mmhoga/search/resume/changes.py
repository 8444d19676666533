"""Changes that a hook makes to a data set in the main process, for instance to its pipeline at an epoch."""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
from collections.abc import Iterator
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from mmhoga.search.samples import inside

LARGE = 1000
# Attributes in which two halves of a data set differ.
_OWN = {'data_list', 'data_bytes', 'data_address', 'dataset', 'datasets', 'indices', 'repeat_indices', 'flag'}
_OWN |= {'cumulative_sizes', 'num_samples', '_ori_len'}


class Fingerprint:
    """A summary of an object that stays equal until the object changes.

    Arrays, tensors, containers and strings of more than :data:`LARGE` elements (annotations), functions, and objects
    that pickle refuses are compared by identity, so the cost is independent of the number of samples.
    """

    def __init__(self, value: Any) -> None:
        self._alive: list[Any] = []  # so that no other object gets the address of one of these
        buffer = io.BytesIO()
        self._digest: bytes | None = None
        with suppress(Exception):  # of a class of a user; the object then counts as changed
            _Summary(buffer, self._alive).dump(value)
            self._digest = hashlib.blake2b(buffer.getbuffer()).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self._digest == other._digest is not None

    __hash__ = None  # type: ignore[assignment]


class _Summary(pickle.Pickler):
    def __init__(self, file: io.BytesIO, alive: list[Any]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.alive = alive

    def persistent_id(self, value: Any) -> tuple[int, int] | None:
        if isinstance(value, (type, FunctionType, BuiltinFunctionType, ModuleType)):
            return self._identity(value, 0)
        if isinstance(value, (np.ndarray, torch.Tensor)):
            size = value.size if isinstance(value, np.ndarray) else value.numel()
        else:
            size = len(value) if isinstance(value, (list, tuple, dict, set, str, bytes, bytearray)) else 0
        return self._identity(value, size) if size > LARGE else None

    def reducer_override(self, value: Any) -> Any:
        try:
            value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        except Exception:  # of a lock, an open file, or any class of a user
            return object, self._identity(value, 0)  # never unpickled
        return NotImplemented

    def _identity(self, value: Any, size: int) -> tuple[int, int]:
        self.alive.append(value)
        return id(value), size


class Follower:
    """Repeats on trainB what a hook changes on trainA, where both are halves of one data set.

    Hooks such as mmdet's PipelineSwitchHook set attributes of the data set of ``train_dataloader`` alone. Only
    attributes that hold another object than at the last call are copied, for the data set and each one inside.

    Args:
        leader: trainA.
        follower: trainB.
    """

    def __init__(self, leader: Any, follower: Any) -> None:
        self.pairs = list(_levels(leader, follower))
        self.before = [dict(vars(first)) for first, _ in self.pairs]

    def update(self) -> None:
        """Copy what changed since the last call."""
        for (leader, follower), before in zip(self.pairs, self.before):
            for name, value in vars(leader).items():
                if name not in _OWN and (name not in before or before[name] is not value):
                    setattr(follower, name, copy.deepcopy(value))
        self.before = [dict(vars(leader)) for leader, _ in self.pairs]


def _levels(leader: Any, follower: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of data sets: both halves, and those inside them; a data set without samples in one half has no pair."""
    yield leader, follower
    leaders, followers = inside(leader), inside(follower)
    if leaders is not None and followers is not None and len(leaders) == len(followers):
        for pair in zip(leaders, followers):
            yield from _levels(*pair)
