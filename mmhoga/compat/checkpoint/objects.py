"""Stand-ins for the objects of a pickle while it is read, and the checks of plain data that all builders share."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


class CheckpointError(pickle.UnpicklingError):
    """A checkpoint is damaged, or holds something that mmhoga does not load. The message is for users."""


class Unknown:
    """Stands for an object that was not loaded. It has a name and does nothing."""

    __slots__ = ('name',)

    def __init__(self, name: str) -> None:
        self.name = short(name)

    def __repr__(self) -> str:
        return f'<not loaded: {self.name}>'


class Pending(Unknown):
    """An object that a pickle describes in two parts. If the second part is missing or wrong, it stays unknown."""

    __slots__ = ('code', 'finish', 'places')

    def __init__(self, name: str, finish: Callable[..., Any], code: str = '') -> None:
        super().__init__(name)
        self.finish = finish
        self.code = code
        self.places: list[int] = []  # where the interpreter remembers it

    def build(self, state: Any) -> Any:
        built = self.finish(self, state)
        return self if built is None else built


@dataclass(frozen=True)
class Maker:
    """A function of this package that stands for a name. ``make`` checks its arguments."""

    name: str
    make: Callable[..., Any]


@dataclass(frozen=True)
class StorageType:
    """The class of a storage. ``dtype`` is None for untyped storages."""

    dtype: torch.dtype | None


@dataclass
class Storage:
    """Memory of a file. ``numel`` counts elements of ``dtype``, or bytes without one."""

    memory: torch.UntypedStorage
    dtype: torch.dtype | None
    numel: int


def short(value: Any, limit: int = 80) -> str:
    """A name from a file, safe to print: ASCII without control characters, and not long."""
    text = value[: limit + 1] if isinstance(value, str) else type(value).__name__
    text = ''.join(c if c.isascii() and c.isprintable() else '?' for c in text)
    return text if len(text) <= limit else f'{text[:limit]}...'


def check(condition: bool, problem: str) -> None:
    if not condition:
        raise CheckpointError(problem)


def item_size(dtype: torch.dtype | None) -> int:
    """Bytes of one element; 1 without a dtype. ``torch.dtype.itemsize`` is newer than torch 2.0."""
    return 1 if dtype is None else torch.empty((), dtype=dtype).element_size()


def counts(values: Any, what: str) -> tuple[int, ...]:
    check(isinstance(values, (tuple, list)) and len(values) <= 64, f'it has a {what} that is no list of numbers')
    check(all(type(n) is int and 0 <= n < 2**62 for n in values), f'it has a {what} with something else than numbers')
    return tuple(values)


_KEYS = (str, int, float, bool, bytes, type(None))


def hashable(key: Any, depth: int = 3) -> Any:
    """The key of a dict, or an element of a set: a plain value or a tuple of them. An unknown one becomes its text.

    Deeper tuples are refused: they overflow the C stack when they are hashed.
    """
    if type(key) in _KEYS:
        return key
    if isinstance(key, Unknown):
        return repr(key)
    if type(key) is tuple and depth and all(hashable(part, depth - 1) is part for part in key):
        return key
    raise CheckpointError(f'it has a {type(key).__name__} as a key')
