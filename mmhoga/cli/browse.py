"""What tools/browse_dataset.py does: draw what a config's data set hands to the network, of any host."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope
from torch import Tensor

from mmhoga.cli.run.errors import explained, run
from mmhoga.hosts import LaunchError, import_mmpretrain, load_config

# The shorter side of what is drawn: labels on a picture of 32 pixels could not be read.
_READABLE = 256


def browse_main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 for bad input."""
    parser = argparse.ArgumentParser(
        description='Draw images as the network gets them, after the whole pipeline, with labels, boxes or keypoints.'
    )
    parser.add_argument('config', help='of any host')
    parser.add_argument('--out', type=Path, required=True, help='the folder that gets the pictures')
    parser.add_argument('--part', default='train', choices=['train', 'val', 'test'], help='(default: train)')
    parser.add_argument('--number', type=int, default=16, help='of images, from the first on (default: 16)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')
    args = parser.parse_args(argv)
    return run(lambda: print(f'{len(browse(args))} pictures in {args.out}'))


def browse(args: argparse.Namespace) -> list[Path]:
    """Draw, and return the files.

    Raises:
        LaunchError: no such part in the config, data that is not there, or samples of a kind that has no picture.
    """
    cfg = load_config(args.config, args.cfg_options)
    loader = cfg.get(f'{args.part}_dataloader')
    if loader is None:
        raise LaunchError(f'{args.config} has no {args.part}_dataloader.')
    import_mmpretrain(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for step in loader.dataset.get('pipeline', ()):
        if step.type == 'PackPoseInputs':
            step.pack_transformed = True  # the keypoints in what the network gets, which its visualizer prefers
    with explained(cfg):
        dataset = DATASETS.build(loader.dataset)
        args.out.mkdir(parents=True, exist_ok=True)
        visualizer = _visualizer(cfg, dataset)
        paths = []
        for index in range(min(args.number, len(dataset))):
            path = args.out / f'{args.part}_{index:05}.png'
            draw(visualizer, dataset[index], str(path))
            paths.append(path)
    return paths


def draw(visualizer: Any, sample: dict[str, Any], path: str) -> None:
    """Draw one sample, ``inputs`` ``(C, H, W)`` and its ``data_samples``, with its host's visualizer."""
    inputs, annotation = sample.get('inputs'), sample['data_samples']
    if not isinstance(inputs, Tensor) or inputs.dim() != 3:
        raise LaunchError(f'the data set gives no image but {type(inputs).__name__}; only images can be drawn.')
    image = _picture(inputs)
    if hasattr(visualizer, 'visualize_cls'):
        factor = max(1, _READABLE // min(image.shape[:2]))
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        visualizer.visualize_cls(image, annotation, draw_pred=False, out_file=path)
    else:
        instances = annotation.get('gt_instances', {})
        if hasattr(instances.get('bboxes'), 'tensor'):  # mmdet's visualizer draws tensors, its pipelines give boxes
            instances.bboxes = instances.bboxes.tensor
        visualizer.add_datasample('', image, annotation, draw_pred=False, out_file=path)


def _visualizer(cfg: Config, dataset: Any) -> Any:
    settings = dict(cfg.get('visualizer') or {'type': 'Visualizer'})
    settings['vis_backends'] = None  # files of its own would be written otherwise
    visualizer = VISUALIZERS.build({**settings, 'name': 'browse_dataset'})
    if hasattr(visualizer, 'set_dataset_meta'):
        visualizer.set_dataset_meta(dataset.metainfo)
    else:
        visualizer.dataset_meta = dataset.metainfo
    return visualizer


def _picture(inputs: Tensor) -> np.ndarray:
    """``(C, H, W)`` as the hosts pack it, in the order blue, green, red, to ``(H, W, 3)`` in red, green, blue."""
    image = inputs.permute(1, 2, 0).cpu().numpy()
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., ::-1]
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
