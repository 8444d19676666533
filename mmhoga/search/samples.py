"""The data sets inside wrappers, and the samples inside data sets."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ClassBalancedDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Subset


def leaves(dataset: Any) -> Iterator[Any]:
    """The innermost data sets."""
    wrapped = inside(dataset)
    if wrapped is None:
        yield dataset
    for inner in wrapped or ():
        yield from leaves(inner)


def inside(dataset: Any) -> Sequence[Any] | None:
    """The data sets that a wrapper wraps; None if it is no wrapper."""
    if isinstance(dataset, ConcatDataset):
        return dataset.datasets
    if isinstance(dataset, (RepeatDataset, ClassBalancedDataset)) or is_mix(dataset):
        return [dataset.dataset]
    if not isinstance(dataset, Subset) and (hasattr(dataset, 'dataset') or hasattr(dataset, 'datasets')):
        raise TypeError(
            f'train_cfg.split cannot halve a {type(dataset).__name__}: how it uses the data sets inside is unknown. '
            'Put mmhoga.RandomSplit around each data set inside it, with part="A" in train_dataloader and part="B" in '
            'train_cfg.alpha_dataloader, and remove train_cfg.split.'
        )
    return None


def is_mix(dataset: Any) -> bool:
    return any(kind.__name__ == 'MultiImageMixDataset' for kind in type(dataset).__mro__)


def sample_keys(dataset: Any) -> np.ndarray:
    """A 64-bit number for each sample, from the content of its annotation; equal annotations differ by their count.

    So two data sets that hold the same samples agree, and the keys of one data set differ. Samples of a data set that
    is not mmengine's have keys of the object, without a look at its content.
    """
    if not isinstance(dataset, BaseDataset):
        return _numbers(f'{id(dataset)}/{index}'.encode() for index in range(len(dataset)))
    seen: Counter[bytes] = Counter()

    def contents() -> Iterator[bytes]:
        for content in _annotations(dataset):
            digest = hashlib.blake2b(content, digest_size=8).digest()
            seen[digest] += 1
            yield digest + str(seen[digest]).encode()

    return _numbers(contents())


def _annotations(dataset: BaseDataset) -> Iterator[Any]:
    if dataset.serialize_data:
        starts = [0, *dataset.data_address.tolist()]
        for start, end in zip(starts, starts[1:]):
            yield dataset.data_bytes[start:end]
    else:
        yield from (pickle.dumps(info) for info in dataset.data_list)


def _numbers(contents: Iterator[bytes]) -> np.ndarray:
    digests = b''.join(hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(digests, dtype=np.uint64)
