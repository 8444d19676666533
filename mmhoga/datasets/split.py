"""The two disjoint halves of a training set that a search needs (section 3.3)."""

from __future__ import annotations

import numpy as np
from mmengine.dataset import BaseDataset

from mmhoga.registry import DATASETS


@DATASETS.register_module()
def RandomSplit(dataset: dict | BaseDataset, part: str, *, fraction: float = 0.5, seed: int = 0) -> BaseDataset:
    """One part of a random two-way split of any mmengine dataset: trainA or trainB.

    Both parts must be built with the same ``dataset`` (its pipeline may differ), ``fraction`` and ``seed``; they are
    then disjoint and cover the data set, on every rank and machine. What comes back is of the data set's own class.

    Args:
        dataset: the data set, as a config or built.
        part: ``'A'`` or ``'B'``.
        fraction: the share of samples in A.
        seed: of the permutation; independent of the run's seed.

    Raises:
        ValueError: an unknown part, a fraction outside (0, 1), or a part without samples.
        TypeError: a data set that cannot be cut, such as a wrapper; put the split inside the wrapper.
    """
    if part not in ('A', 'B'):
        raise ValueError(f"part must be 'A' or 'B', not {part!r}.")
    if not 0 < fraction < 1:
        raise ValueError(f'fraction must lie between 0 and 1, not {fraction}.')
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
    if not isinstance(dataset, BaseDataset):
        raise TypeError(
            f'RandomSplit cuts data sets that derive from mmengine.dataset.BaseDataset, not {type(dataset).__name__}. '
            'Put it inside the wrapper, around each data set.'
        )
    dataset.full_init()
    order = np.random.RandomState(seed).permutation(len(dataset))
    cut = round(len(dataset) * fraction)
    indices = np.sort(order[:cut] if part == 'A' else order[cut:])
    if not len(indices):
        raise ValueError(f'Part {part} of {len(dataset)} samples at fraction {fraction} has no sample.')
    dataset.get_subset_(indices.tolist())
    return dataset
