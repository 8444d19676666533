"""A classification data set of the boxes of a detection data set, to pre-train a detector's backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset

from mmhoga.registry import DATASETS


@DATASETS.register_module()
class CocoCrops(BaseDataset):
    """Each box of a COCO annotation file, with a margin, as a square image with a class.

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
