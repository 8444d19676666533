"""Optuna's samplers and pruners by name, and its storages by path or URL."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend

#: Name -> function of a seed and the size of a generation.
SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    'random': lambda seed, population: RandomSampler(seed=seed),
    'tpe': lambda seed, population: TPESampler(seed=seed),
    'nsga2': lambda seed, population: NSGAIISampler(seed=seed, population_size=population),
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    'none': NopPruner,
    'median': MedianPruner,
    'asha': SuccessiveHalvingPruner,
    'hyperband': HyperbandPruner,
}


class StudyError(ValueError):
    """A folder or a storage that does not belong to this study, or cannot be used. The message is for users."""


def open_storage(storage: str) -> BaseStorage:
    """A database by its URL, or a journal file by its path. StudyError if it cannot be opened."""
    try:
        if '://' in storage:
            return get_storage(storage)
        # The journal's lock is a symbolic link to this path. A relative path would lead nowhere, and Optuna could not
        # see the age of a lock whose holder was killed.
        return JournalStorage(JournalFileBackend(str(Path(storage).resolve())))
    except Exception as error:  # whatever the driver of the database raises
        raise StudyError(
            f'The storage {storage} cannot be opened: {type(error).__name__}: {" ".join(str(error).split())}'
        ) from error
