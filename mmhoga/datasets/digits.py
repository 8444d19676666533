"""Handwritten digits: 1,797 real 8x8 images, part of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from mmhoga.registry import DATASETS


@DATASETS.register_module()
class Digits(BaseDataset):
    """UCI's "Optical Recognition of Handwritten Digits" from scikit-learn, without a download.

    ``img`` is ``(8, 8, 1)`` uint8, the 17 grey levels of the originals scaled to 0..255. ``gt_label`` is the digit.

    Args:
        split: ``'train'`` (1,438 images) or ``'test'`` (359), a fixed random split stratified by digit.
        pipeline, **kwargs: as in mmengine's BaseDataset.

    Raises:
        ValueError: an unknown split.
        ImportError: scikit-learn is not installed.
    """

    METAINFO = {'classes': tuple('0123456789')}
    test_fraction = 0.2

    def __init__(self, split: str = 'train', pipeline: tuple | list = (), **kwargs: Any) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"Digits has the splits 'train' and 'test', not {split!r}.")
        self.split = split
        super().__init__(pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError('Digits needs scikit-learn: pip install mmhoga[cls]') from error
        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return [{'img': images[i], 'gt_label': int(digits.target[i])} for i in _stratified(digits.target, self.split)]


def _stratified(labels: np.ndarray, split: str) -> np.ndarray:
    """The indices of a split: a seeded shuffle within each class, the same on every machine."""
    random = np.random.RandomState(0)  # NumPy guarantees its stream; a Generator's may change
    chosen = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = round(len(members) * Digits.test_fraction)
        chosen.append(members[:count] if split == 'test' else members[count:])
    return np.sort(np.concatenate(chosen))
