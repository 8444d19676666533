"""Images as a network gets them: through its own pipeline and preprocessor, from files or from its data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mmhoga.cli.looks.subjects import Subject
from mmhoga.files import near_names
from mmhoga.hosts import LaunchError


@dataclass(frozen=True)
class Picture:
    """One packed sample: ``data`` is what the pipeline returned, ``title`` what a figure calls it."""

    data: dict[str, Any]
    title: str

    @property
    def label(self) -> int | None:
        """Its class; of an image with boxes, that of the largest. None if it has none."""
        sample = self.data['data_samples']
        label = getattr(sample, 'gt_label', None)
        if label is not None:
            return int(label.flatten()[0])
        instances = getattr(sample, 'gt_instances', None)
        if instances is None or 'labels' not in instances or 'bboxes' not in instances or not len(instances.labels):
            return None
        boxes = torch.as_tensor(getattr(instances.bboxes, 'tensor', instances.bboxes))
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return int(instances.labels[int(areas.argmax())])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width before any padding."""
        return tuple(self.data['inputs'].shape[-2:])  # type: ignore[return-value]


def from_files(subject: Subject, paths: Sequence[str]) -> list[Picture]:
    """Images through the pipeline of the network's test data set, without annotations; a pose is all of the image.

    Raises:
        LaunchError: a file that is not there or no image.
    """
    transforms = [step for step in _pipeline(subject) if not _kind(step).startswith('LoadAnnotations')]
    loads = any(_kind(step).startswith('LoadImage') for step in transforms)
    with DefaultScope.overwrite_default_scope(subject.scope):
        pipeline = Compose(transforms)
    pictures = []
    for path in paths:
        image = read_image(path)
        height, width = image.shape[:2]
        start = dict(img_path=path, img_id=0, ori_shape=(height, width), img_shape=(height, width))
        if not loads:
            if _channels(subject.model) == 1:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
            start['img'] = image
        if subject.scope == 'mmpose':
            start['bbox'] = np.array([[0, 0, width, height]], dtype=np.float32)
            start['bbox_score'] = np.ones(1, dtype=np.float32)
        pictures.append(Picture(pipeline(start), Path(path).name))
    return pictures


def from_dataset(subject: Subject, indices: Sequence[int]) -> list[Picture]:
    """Samples of the network's test data set.

    Raises:
        LaunchError: an index out of range.
    """
    dataset = subject.dataset()
    wrong = [index for index in indices if not 0 <= index < len(dataset)]
    if wrong:
        raise LaunchError(f'--samples {wrong[0]}: the data set of {subject.name} has samples 0 to {len(dataset) - 1}.')
    return [Picture(dataset[index], f'sample {index}') for index in indices]


def spread(subject: Subject, count: int) -> list[int]:
    """Indices of ``count`` samples, as far as possible of different classes, the first of each."""
    dataset = subject.dataset()
    first: dict[int | None, int] = {}
    for index in range(min(len(dataset), 500)):
        first.setdefault(Picture(dataset[index], '').label, index)
        if len(first) == count:
            break
    return sorted(first.values())


def read_image(path: str) -> np.ndarray:
    """``(H, W, 3)`` uint8, BGR."""
    if not Path(path).is_file():
        raise LaunchError(f'there is no image {path}.{near_names(Path(path))}')
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise LaunchError(f'{path} ({Path(path).stat().st_size} bytes) cannot be read as an image.')
    return image


def batch(subject: Subject, pictures: Sequence[Picture]) -> tuple[Tensor, list[Any]]:
    """``(N, C, H, W)`` as the network takes them, normalised, and the host's samples."""
    data = pseudo_collate([picture.data for picture in pictures])
    ready = subject.model.data_preprocessor(data, False)  # type: ignore[operator]
    return ready['inputs'].to(subject.device), ready['data_samples']


def display(subject: Subject, picture: Picture) -> np.ndarray:
    """What the network saw, before normalisation, ``(H, W, 3)`` RGB or ``(H, W)``, in [0, 1]."""
    image = picture.data['inputs'].float().permute(1, 2, 0).numpy()
    low, high = (0.0, 255.0) if picture.data['inputs'].dtype == torch.uint8 else (image.min(), image.max())
    image = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    if image.shape[-1] != 3:
        return image.mean(-1)
    steps = [_kind(step) for step in _pipeline(subject)]
    preprocessor = subject.model.data_preprocessor
    converts = getattr(preprocessor, 'to_rgb', False) or getattr(preprocessor, '_channel_conversion', False)
    bgr = converts or any(step.startswith('LoadImage') for step in steps)  # OpenCV's order
    return image[..., ::-1] if bgr else image


def batches(
    subject: Subject, *, batch_size: int, workers: int = 0, indices: Sequence[int] | None = None
) -> Iterator[tuple[Tensor, list[Any], list[Picture]]]:
    """The data set in batches of equal sizes, so that no image is padded for another and results do not change with it.

    Yields:
        inputs, samples and pictures.
    """
    dataset = subject.dataset()
    if indices is not None:
        dataset = Subset(dataset, list(indices))
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=list)
    for chunk in loader:
        groups: dict[tuple[int, int], list[Picture]] = {}
        for data in chunk:
            picture = Picture(data, '')
            groups.setdefault(picture.size, []).append(picture)
        for pictures in groups.values():
            yield (*batch(subject, pictures), pictures)


def _pipeline(subject: Subject) -> list[Any]:
    loader = subject.cfg.get('test_dataloader') or subject.cfg.get('val_dataloader') or {}
    dataset = loader.get('dataset', {})
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    pipeline = dataset.get('pipeline')
    if pipeline is None:
        raise LaunchError(f'{subject.cfg.filename} has no test_dataloader.dataset.pipeline to prepare images with.')
    return list(pipeline)


def _kind(step: Any) -> str:
    kind = step['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def _channels(model: nn.Module) -> int:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels
