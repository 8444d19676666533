"""``mmhoga browse``: draw the samples of a data set as the network receives them, for any host."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope
from torch import Tensor

from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import explained, run
from mmhoga.cli.values import positive
from mmhoga.hosts import LaunchError, config_scope, import_mmpretrain, load_config


def browse_main(argv: Sequence[str] | None = None) -> int:
    """Draw samples. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Draw images as the network receives them, after the whole pipeline, with labels, boxes or keypoints.',
        'mmhoga browse hoga-resnet18_1xb32-10e_shapes --out pictures --number 16',
    )
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER', help='folder for the pictures')
    parser.add_argument('--part', default='train', choices=['train', 'val', 'test'], help='(default: train)')
    parser.add_argument('--number', type=positive(int), default=16, help='number of images (default: 16)')
    add_config_options(parser)
    return run(lambda: _browse(parser.parse_args(argv)))


def _browse(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    loader = cfg.get(f'{args.part}_dataloader')
    if loader is None:
        raise LaunchError(f'{args.config} has no {args.part}_dataloader.')
    import_mmpretrain(cfg)
    init_default_scope(config_scope(cfg))
    _pack_transformed_keypoints(loader.dataset)
    with explained(cfg, [args.part]):
        dataset = DATASETS.build(loader.dataset)
        visualizer = VISUALIZERS.build(
            {**(cfg.get('visualizer') or {'type': 'Visualizer'}), 'vis_backends': None, 'name': 'browse'}
        )
        if hasattr(visualizer, 'set_dataset_meta'):
            visualizer.set_dataset_meta(dataset.metainfo)
        else:
            visualizer.dataset_meta = dataset.metainfo
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LaunchError(f'--out {args.out}: {error.strerror}.') from error
        number = min(args.number, len(dataset))
        for index in range(number):
            draw(visualizer, dataset[index], str(args.out / f'{args.part}_{index:05}.png'))
    print(f'{number} pictures in {args.out}')


def draw(visualizer: Any, sample: dict[str, Any], path: str) -> None:
    """Draw one sample, ``inputs`` ``(C, H, W)`` and its ``data_samples``, with the visualizer of its host."""
    inputs, annotation = sample.get('inputs'), sample['data_samples']
    if not isinstance(inputs, Tensor) or inputs.dim() != 3:
        raise LaunchError(f'only images can be drawn; the inputs of this data set are {type(inputs).__name__}.')
    image = inputs.permute(1, 2, 0).cpu().numpy()
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., ::-1]  # the hosts pack images in BGR
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    if hasattr(visualizer, 'visualize_cls'):
        factor = max(1, 256 // min(image.shape[:2]))  # a label on a picture of 32 pixels would be illegible
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        visualizer.visualize_cls(image, annotation, draw_pred=False, out_file=path)
    else:
        instances = annotation.get('gt_instances', {})
        if hasattr(instances.get('bboxes'), 'tensor'):  # mmdet's visualizer draws tensors, its pipelines return boxes
            instances.bboxes = instances.bboxes.tensor
        visualizer.add_datasample('', image, annotation, draw_pred=False, out_file=path)


def _pack_transformed_keypoints(node: Any) -> None:
    """Make mmpose's pipelines pack the keypoints of the image that the network receives, which its visualizer draws."""
    if isinstance(node, dict):
        if str(node.get('type')).rpartition('.')[2] == 'PackPoseInputs':
            node['pack_transformed'] = True
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            _pack_transformed_keypoints(child)
