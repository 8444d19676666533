"""Classification data sets: handwritten digits, and the boxes of a detection data set."""

from __future__ import annotations

import json
import reprlib
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset

from mmhoga.registry import DATASETS


@DATASETS.register_module()
class Digits(BaseDataset):
    """UCI's "Optical Recognition of Handwritten Digits", 1,797 images that are part of scikit-learn.

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
            raise ValueError(f"Digits has the splits 'train' and 'test', not {reprlib.repr(split)}.")
        self.split = split
        super().__init__(pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        images, labels = _digits()
        random = np.random.RandomState(0)  # NumPy guarantees its stream; a Generator's may change
        chosen = []
        for label in range(10):
            members = random.permutation(np.flatnonzero(labels == label))
            count = round(len(members) * self.test_fraction)
            chosen.append(members[:count] if self.split == 'test' else members[count:])
        indices = np.sort(np.concatenate(chosen))
        return [{'img': images[i], 'gt_label': int(labels[i])} for i in indices]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """All images ``(N, 8, 8, 1)`` and labels. The file is read once per process: it is text, and that takes a while."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('Digits needs scikit-learn: pip install mmhoga[cls]') from error
    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None], digits.target


@DATASETS.register_module()
class CocoCrops(BaseDataset):
    """Each box of a COCO annotation file, with a margin, as a square image, to pre-train a detector's backbone.

    ``img`` is ``(size, size, 3)`` uint8 BGR, ``gt_label`` the position of the category in the file. Crowd boxes are
    left out. All images stay in memory, so use it for small data sets such as those of ``mmhoga make-data``.

    Args:
        ann_file: annotation file, relative to ``data_root``.
        data_prefix: ``dict(img_path=...)``, the image folder, relative to ``data_root``.
        size: height and width of the returned images in pixels.
        margin: border added on each side, as a share of the longer side of the box.
        pipeline, **kwargs: as in mmengine's BaseDataset.

    Raises:
        FileNotFoundError: the annotation file or an image is missing.
    """

    def __init__(
        self, ann_file: str, *, size: int = 32, margin: float = 0.15, pipeline: tuple | list = (), **kwargs: Any
    ) -> None:
        self.size = size
        self.margin = margin
        super().__init__(ann_file, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        content = json.loads(Path(self.ann_file).read_text(encoding='utf-8'))
        self._metainfo['classes'] = tuple(category['name'] for category in content['categories'])
        labels = {category['id']: label for label, category in enumerate(content['categories'])}
        boxes: dict[int, list[dict]] = {}
        for annotation in content['annotations']:
            if not annotation.get('iscrowd', 0):
                boxes.setdefault(annotation['image_id'], []).append(annotation)
        crops = []
        for image in content['images']:
            path = Path(self.data_prefix['img_path']) / image['file_name']
            pixels = cv2.imread(str(path))
            if pixels is None:
                raise FileNotFoundError(f'No such file, or not an image: {str(path)!r}')
            for box in boxes.get(image['id'], ()):
                crops.append(dict(img=self._crop(pixels, box['bbox']), gt_label=labels[box['category_id']]))
        return crops

    def _crop(self, pixels: np.ndarray, box: list[float]) -> np.ndarray:
        """The square around a COCO box; outside the image its edge pixels are repeated."""
        x, y, width, height = box
        side = max(width, height) * (1 + 2 * self.margin)
        scale = self.size / side
        left, top = x + (width - side) / 2, y + (height - side) / 2
        to_crop = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        return cv2.warpAffine(pixels, to_crop, (self.size, self.size), borderMode=cv2.BORDER_REPLICATE)
