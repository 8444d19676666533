"""Images and data sets as a network receives them: through the pipeline and the preprocessor of its config."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mmhoga.cli.flops import input_channels
from mmhoga.cli.looks.networks import TrainedNetwork
from mmhoga.files import near_names
from mmhoga.hosts import LaunchError
from mmhoga.models.hooks import captured, output_of, undisturbed


@dataclass(frozen=True)
class Picture:
    """An image after the pipeline: ``data`` is the pipeline's output, ``title`` the label in figures."""

    data: dict[str, Any]
    title: str

    @property
    def label(self) -> int | None:
        """The class of the image, or of its largest box; None if it has neither."""
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


def requested_pictures(args: argparse.Namespace, network: TrainedNetwork) -> list[Picture]:
    """The images of ``--images`` or ``--samples``; by default the first of each of a few classes.

    Raises:
        LaunchError: a file is missing or is not an image, or a sample is out of range.
    """
    if args.images:
        return from_files(network, args.images)
    dataset = network.dataset
    if args.samples is None:  # chosen from the first network's data set, used for all networks
        first: dict[int | None, int] = {}
        for index in range(min(len(dataset), 500)):
            first.setdefault(Picture(dataset[index], '').label, index)
            if len(first) == args.default_samples:
                break
        args.samples = sorted(first.values())
    for index in args.samples:
        if not 0 <= index < len(dataset):
            raise LaunchError(f'--samples {index}: the data set of {network.name} has samples 0 to {len(dataset) - 1}.')
    return [Picture(dataset[index], f'sample {index}') for index in args.samples]


def from_files(network: TrainedNetwork, paths: Sequence[str]) -> list[Picture]:
    """Put image files through the test pipeline, without annotations. A pose model gets the whole image as its box."""
    transforms = [step for step in _pipeline(network) if not _type_name(step).startswith('LoadAnnotations')]
    loads = any(_type_name(step).startswith('LoadImage') for step in transforms)
    with DefaultScope.overwrite_default_scope(network.scope):
        pipeline = Compose(transforms)
    pictures = []
    for path in paths:
        if not Path(path).is_file():
            raise LaunchError(f'there is no image {path}.{near_names(Path(path))}')
        image = cv2.imread(path, cv2.IMREAD_COLOR)
        if image is None:
            raise LaunchError(f'{path} ({Path(path).stat().st_size} bytes) cannot be read as an image.')
        height, width = image.shape[:2]
        start = dict(img_path=path, img_id=0, ori_shape=(height, width), img_shape=(height, width))
        if not loads:
            if input_channels(network.model) == 1:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
            start['img'] = image
        if network.scope == 'mmpose':
            start['bbox'] = np.array([[0, 0, width, height]], dtype=np.float32)
            start['bbox_score'] = np.ones(1, dtype=np.float32)
        pictures.append(Picture(pipeline(start), Path(path).name))
    return pictures


def batch(network: TrainedNetwork, pictures: Sequence[Picture]) -> tuple[Tensor, list[Any]]:
    """The normalised ``(N, C, H, W)`` inputs on the network's device, and the host's data samples.

    Raises:
        LaunchError: the images do not have as many channels as the network's first convolution takes.
    """
    given = len(pictures[0].data['inputs'])
    wanted = input_channels(network.model, default=given)
    if wanted != given:
        raise LaunchError(
            f'{network.name} takes images with {wanted} channel(s), but the test pipeline of {network.cfg.filename} '
            f"returns {given}. Set its color_type, for example dict(type='LoadImageFromFile', color_type='grayscale')."
        )
    data = pseudo_collate([picture.data for picture in pictures])
    ready = network.model.data_preprocessor(data, False)  # type: ignore[operator]
    return ready['inputs'].to(network.device), ready['data_samples']


def display(network: TrainedNetwork, picture: Picture) -> np.ndarray:
    """The image before normalisation, in [0, 1]: ``(H, W, 3)`` RGB, or ``(H, W)`` if it has other than 3 channels."""
    image = picture.data['inputs'].float().permute(1, 2, 0).numpy()
    low, high = (0.0, 255.0) if picture.data['inputs'].dtype == torch.uint8 else (image.min(), image.max())
    image = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    if image.shape[-1] != 3:
        return image.mean(-1)
    preprocessor = network.model.data_preprocessor
    converts = getattr(preprocessor, 'to_rgb', False) or getattr(preprocessor, '_channel_conversion', False)
    bgr = converts or any(_type_name(step).startswith('LoadImage') for step in _pipeline(network))  # OpenCV's order
    return image[..., ::-1] if bgr else image


def labelled_features(
    network: TrainedNetwork, layers: Sequence[str], indices: Sequence[int], args: argparse.Namespace
) -> Iterator[tuple[dict[str, Tensor], list[int]]]:
    """Run chosen samples of the data set; yield a layer's output ``(N, ...)`` by name, and N labels, per batch.

    Samples without a label are left out. All images of a batch have one size, so none is padded and the results do not
    depend on the batch size.
    """
    loader = DataLoader(
        Subset(network.dataset, indices), batch_size=args.batch_size, num_workers=args.workers, collate_fn=list
    )
    with undisturbed(network.model), captured(network.model, layers) as outputs, torch.no_grad():
        for chunk in loader:
            by_size: dict[tuple[int, int], list[Picture]] = {}
            for data in chunk:
                picture = Picture(data, '')
                if picture.label is not None:
                    by_size.setdefault(picture.size, []).append(picture)
            for pictures in by_size.values():
                network.run_layers(batch(network, pictures)[0], layers)
                yield (
                    {layer: output_of(outputs, layer) for layer in layers},
                    [picture.label for picture in pictures],  # type: ignore[misc]
                )


def _pipeline(network: TrainedNetwork) -> list[Any]:
    dataset = network.dataset_config
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if dataset.get('pipeline') is None:
        raise LaunchError(f'{network.cfg.filename} has no test_dataloader.dataset.pipeline to prepare images with.')
    return list(dataset['pipeline'])


def _type_name(step: Any) -> str:
    kind = step['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
