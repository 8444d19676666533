"""A check that trainA and trainB, each with a data set of its own in the config, share no sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from mmhoga.search.samples import leaves, sample_keys

# Two data sets of images in memory may hold a few equal images. A greater share is no coincidence.
COINCIDENCE = 0.01


def require_disjoint(first: Any, second: Any) -> str:
    """Words for the log on the samples that both data sets hold.

    Args:
        first: trainA.
        second: trainB.

    Raises:
        ValueError: both have parts of a RandomSplit that do not complete each other, or they share more samples than
            a coincidence explains.
    """
    try:
        both = [list(leaves(each)) for each in (first, second)]
    except TypeError:  # an unknown wrapper
        return 'not compared: at least one is in a wrapper that is not known'
    splits: list[list[Any]] = [[getattr(leaf, 'random_split', None) for leaf in each] for each in both]
    recorded = all(split is not None for each in splits for split in each)
    if recorded and _completed(splits[0]) == sorted(map(_key, splits[1])):
        return 'two parts of one split'
    if not all(isinstance(leaf, BaseDataset) for each in both for leaf in each):
        return 'not compared: at least one is no data set of mmengine'
    sizes = [sum(map(len, each)) for each in both]
    shared = len(np.intersect1d(*(np.concatenate([sample_keys(leaf) for leaf in each]) for each in both)))
    counts = f'trainA has {sizes[0]} samples, trainB {sizes[1]}, and {shared} of them are in both'
    if recorded:
        found = [', '.join(_words(split) for split in each) for each in splits]
        raise ValueError(
            f'trainA and trainB are no two halves of one data set: {counts}. trainA is {found[0]}; trainB is '
            f'{found[1]}. Give both the same dataset, fraction and seed, or use train_cfg.split.'
        )
    if shared > COINCIDENCE * min(sizes):
        raise ValueError(
            f'trainA and trainB overlap: {counts}. Alpha would be trained on samples of the weights. Use '
            'train_cfg.split=dict(fraction=0.5, seed=0) and one train_dataloader instead.'
        )
    return f'{shared} samples are in both' if shared else 'no sample is in both'


def _key(split: dict[str, Any]) -> tuple[Any, ...]:
    return split['part'], split['fraction'], split['seed'], split['digest']


def _completed(splits: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The splits with the other part of each."""
    return sorted(_key({**split, 'part': 'B' if split['part'] == 'A' else 'A'}) for split in splits)


def _words(split: dict[str, Any]) -> str:
    return 'part {part} of {samples} samples (fraction {fraction}, seed {seed}, data {digest:.8})'.format_map(split)
