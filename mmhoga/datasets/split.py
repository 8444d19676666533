"""Random split of a training set into trainA and trainB, the disjoint halves for a search (section 3.3)."""

from __future__ import annotations

import hashlib
import pickle
import reprlib

import numpy as np
from mmengine.dataset import BaseDataset

from mmhoga.registry import DATASETS


@DATASETS.register_module()
def RandomSplit(dataset: dict | BaseDataset, part: str, *, fraction: float = 0.5, seed: int = 0) -> BaseDataset:
    """One part of a random split of an mmengine data set: ``'A'`` for trainA, ``'B'`` for trainB.

    Two parts with the same ``dataset`` (pipelines may differ), ``fraction`` and ``seed`` are disjoint and cover the
    data set, in every process and on every machine. Returns an object of the data set's own class. ``split`` of
    :class:`mmhoga.search.SearchLoop` needs less of a config, and splits by class.

    Args:
        dataset: the data set, as a config or built.
        fraction: the share of samples in A.
        seed: of the permutation; independent of the run's seed.

    Raises:
        ValueError: an unknown part, a fraction outside (0, 1), or a part without samples.
        TypeError: the data set does not derive from mmengine's BaseDataset (a wrapper, for instance).
    """
    if part not in ('A', 'B'):
        raise ValueError(f"part must be 'A' or 'B', not {reprlib.repr(part)}.")
    if not 0 < fraction < 1:
        raise ValueError(f'fraction must lie between 0 and 1, not {reprlib.repr(fraction)}.')
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
    if not isinstance(dataset, BaseDataset):
        raise TypeError(
            f'RandomSplit needs a data set that derives from mmengine.dataset.BaseDataset, not '
            f'{type(dataset).__name__}. Put RandomSplit inside the wrapper, around each data set.'
        )
    dataset.full_init()
    order = np.random.RandomState(seed).permutation(len(dataset))
    cut = round(len(dataset) * fraction)
    indices = np.sort(order[:cut] if part == 'A' else order[cut:])
    if not len(indices):
        raise ValueError(f'Part {part} of {len(dataset)} samples at fraction {fraction} has no sample.')
    content = dataset.data_bytes if dataset.serialize_data else pickle.dumps(dataset.data_list)
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    dataset.random_split = {  # a search compares those of its two halves
        'part': part,
        'fraction': fraction,
        'seed': seed,
        'samples': len(dataset),
        'digest': digest,
    }
    dataset.get_subset_(indices.tolist())
    return dataset
