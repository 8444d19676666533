"""trainA and trainB (section 3.3): two disjoint halves of one data set, from one permutation."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset, Dataset, Subset

from mmhoga.search.samples import inside, is_mix, leaves, sample_keys


def halves(
    dataset: Any, *, fraction: float = 0.5, seed: int = 0, stratified: bool = True
) -> tuple[Dataset[Any], Dataset[Any]]:
    """trainA and trainB: every sample of ``dataset`` is in exactly one of them.

    Which sample is in which half depends on the data, ``fraction`` and ``seed`` alone, so all processes and a resumed
    run make the same halves. Each half has its own copy of the pipeline, because a pipeline may keep images (Mosaic).

    The halves of a wrapper (ConcatDataset, RepeatDataset, ClassBalancedDataset, mmdet's MultiImageMixDataset) are
    wrappers of the halves of the data sets inside. A sample that several of these hold is in one half only.

    Args:
        dataset: an mmengine data set, a wrapper of them, or any map-style data set of torch.
        fraction: the share of samples in trainA. The number of samples in trainA is rounded up or down at random, with
            the expected value ``fraction * n``, and so is the number of samples of each class. Neither half is empty.
        seed: of the permutation; independent of the run's seed.
        stratified: split each class by itself, if each sample has one (``gt_label`` of mmengine's data sets,
            ``targets`` of torchvision's). A class with at least 2 samples is in both halves.

    Raises:
        ValueError: a fraction outside (0, 1), a seed that is no 32-bit number, or fewer than 2 samples.
        TypeError: an unknown wrapper, or an mmengine data set whose samples are not those of its annotation list.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise ValueError(f'The fraction of a split must lie between 0 and 1, not {reprlib.repr(fraction)}.')
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f'The seed of a split must be an integer from 0 to 2**32 - 1, not {reprlib.repr(seed)}.')
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    found = list(leaves(dataset))
    for leaf in found:
        _require_annotations(leaf)
    numbers, strata = _unique_samples(found, stratified)
    if len(strata) < 2:
        raise ValueError(f'A data set of {len(strata)} samples has no two halves: it needs at least 2.')
    first = _choose(strata, fraction, np.random.RandomState(seed))
    parts = [[np.flatnonzero(half[each]) for each in numbers] for half in (first, ~first)]
    return _part(dataset, iter(parts[0])), _part(dataset, iter(parts[1]))


def _choose(strata: np.ndarray, fraction: float, random: np.random.RandomState) -> np.ndarray:
    """A mask of the samples in trainA, from the number of each sample's stratum.

    Systematic sampling: the samples stand in line, stratum after stratum, each in random order. Sample i is chosen if
    an integer lies between ``i * fraction + u`` and ``(i + 1) * fraction + u``, with u uniform in [0, 1). So each
    stratum of n samples gets ``floor`` or ``ceil`` of ``n * fraction``, with the mean ``n * fraction``.
    """
    order = random.permutation(len(strata))
    places = random.permutation(strata.max() + 1)
    order = order[np.argsort(places[strata[order]], kind='stable')]
    steps = np.floor(np.arange(len(strata) + 1) * fraction + random.random_sample())
    chosen = np.zeros(len(strata), dtype=bool)
    chosen[order] = np.diff(steps) > 0
    sizes, sizes_a = np.bincount(strata), np.bincount(strata[chosen], minlength=strata.max() + 1)
    for stratum in np.flatnonzero((sizes > 1) & ((sizes_a == 0) | (sizes_a == sizes))):
        member = order[np.argmax(strata[order] == stratum)]
        chosen[member] = not chosen[member]
    if chosen.all() or not chosen.any():  # few samples, each the only one of its class
        chosen[order[0]] = not chosen[order[0]]
    return chosen


def _part(dataset: Any, picks: Iterator[np.ndarray]) -> Any:
    """The data set with the samples of ``picks``, which holds the indices for each leaf; None without a sample."""
    wrapped = inside(dataset)
    if wrapped is None:
        return _leaf_part(dataset, next(picks).tolist())
    parts = [_part(each, picks) for each in wrapped]
    inner = [part for part in parts if part is not None]
    if not inner:
        return None
    part: Any = copy.copy(dataset)
    if isinstance(dataset, ConcatDataset):
        part.datasets = inner
        part.cumulative_sizes = ConcatDataset.cumsum(inner)
        metainfo = getattr(part, '_metainfo', None)
        if metainfo is not None:  # mmdet's records the sizes there
            sizes = {'cumulative_sizes': part.cumulative_sizes}
            several = isinstance(metainfo, list)
            infos = [info for info, each in zip(metainfo, parts) if each is not None] if several else [metainfo]
            infos = [{**info, **sizes} if 'cumulative_sizes' in info else info for info in infos]
            part._metainfo = infos if several else infos[0]
        return part
    part.dataset = inner[0]
    if is_mix(part):
        part.num_samples = len(inner[0])
        part.pipeline = copy.deepcopy(part.pipeline)
    part._fully_initialized = False
    part.full_init()
    return part


def _leaf_part(dataset: Any, indices: list[int]) -> Any:
    if not indices:
        return None
    if not isinstance(dataset, BaseDataset):
        return Subset(dataset, indices)
    part = copy.copy(dataset)  # get_subset() would share the pipelines of the halves: its memo is a default argument
    part.get_subset_(indices)
    part.pipeline = copy.deepcopy(dataset.pipeline)
    return part


def _unique_samples(found: Sequence[Any], stratified: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """For each leaf the numbers of its samples, equal for equal samples, and for each number its stratum.

    A stratum is a class if all samples have one, otherwise the first leaf that holds the sample.
    """
    bases = [_base(leaf) for leaf in found]
    if all(base is bases[0][0] for base, _ in bases):
        keys = [indices for _, indices in bases]
    else:
        known = {id(base): sample_keys(base) for base, _ in bases}
        keys = [known[id(base)][indices] for base, indices in bases]
    _, first, numbers = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    ends = np.cumsum([len(each) for each in keys])
    strata = np.searchsorted(ends, first, side='right')
    labels = [_labels(base, indices) if stratified else None for base, indices in bases]
    if all(each is not None for each in labels):
        strata = np.concatenate([each for each in labels if each is not None])[first]
    return np.split(numbers, ends[:-1]), np.unique(strata, return_inverse=True)[1]


def _require_annotations(dataset: Any) -> None:
    if isinstance(dataset, BaseDataset):
        annotations = len(dataset.data_address if dataset.serialize_data else dataset.data_list)
        if annotations != len(dataset):
            raise TypeError(
                f'{type(dataset).__name__} has {len(dataset)} samples and {annotations} annotations: its samples are '
                'not those of its annotation list, so it cannot be halved.'
            )


def _base(dataset: Any) -> tuple[Any, np.ndarray]:
    """The data set inside Subsets, and the indices of the samples in it."""
    if not isinstance(dataset, Subset):
        return dataset, np.arange(len(dataset))
    base, indices = _base(dataset.dataset)
    return base, indices[np.asarray(dataset.indices, dtype=np.int64)]


def _labels(dataset: Any, indices: np.ndarray) -> np.ndarray | None:
    """The class of each sample; None if samples have none, or several."""
    if isinstance(dataset, BaseDataset):
        labels = []
        for index in indices.tolist():
            label = dataset.get_data_info(index).get('gt_label')
            if np.ndim(label) or not isinstance(label, (int, np.integer, np.ndarray)):
                return None
            labels.append(int(label))
        return np.asarray(labels)
    targets = np.asarray(getattr(dataset, 'targets', ()))
    return targets[indices] if targets.shape == (len(dataset),) and targets.dtype.kind in 'iu' else None
