"""HOGA in ten networks, trained and used by the own tools of mmdet, mmpose and mmpretrain.

    python benchmarks/host_networks.py
    python benchmarks/host_networks.py rtmdet-tiny timm-resnet50 --folder work_dirs/host_networks

For each network, a folder gets two configs. network.py is what a user writes: the host's own config and one line with
type='mmhoga.Insert'. small.py sets generated data, small pictures and one epoch of two iterations. Then three processes
run in this folder: the host's tools/train.py; the same with --resume and a second epoch; and the host's inferencer,
with the last checkpoint and a picture. The table gives the seconds of each, or the error.

Departures from the hosts' configs, beyond small data: pretrained weights are not downloaded, and transforms of
albumentations are left out if it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config

from mmhoga.datasets.synthetic.coco_files import Recipe, write_coco
from mmhoga.datasets.synthetic.pictures import draw_shapes

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ('disc', 'square', 'triangle')
IMAGES, BATCH = 4, 2


@dataclass
class Network:
    """A network of a host.

    Args:
        host: mmdet, mmpose or mmpretrain.
        config: of the host.
        line: the line of network.py that inserts HOGA.
        sizes: sizes in pixels of the host's config -> sizes here.
        change: other changes, by the dotted names of their keys.
    """

    host: str
    config: str
    line: str
    sizes: dict[int, int]
    change: dict[str, Any] = field(default_factory=dict)


def insert(after: str, rest: str, parent: str = 'backbone') -> str:
    cell = "dict(type='mmhoga.HOGA', genotype='autola')"
    return f"model = dict({parent}=dict(type='mmhoga.Insert', cell={cell}, after=r'{after}', {rest}))"


DETECTION = {640: 96, 1280: 192, 416: 96, -320: -48}
POSE = {192: 96, 256: 128, 48: 24, 64: 32}
CLASSIFICATION = {224: 64, 256: 72, 236: 72}
NETWORKS = {
    'rtmdet-tiny': Network(
        'mmdet', 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py', insert(r'stage\d', "into='CSPNeXt'"), DETECTION
    ),
    'yolox-tiny': Network(
        'mmdet', 'yolox/yolox_tiny_8xb8-300e_coco.py', insert(r'stage\d', "into='CSPDarknet'"), DETECTION
    ),
    'rtmpose-tiny': Network(
        'mmpose',
        'body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py',
        insert(r'stage\d', "into='CSPNeXt'"),
        {},  # the head has a fixed size
    ),
    'hrnet-w32': Network(
        'mmpose',
        'body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
        insert(r'stage[34]\.0\.branches\.\d', "into='HRNet'"),
        POSE,
    ),
    'convnext-tiny': Network(
        'mmpretrain',
        'convnext/convnext-tiny_32xb128_in1k.py',
        insert(r'stages\.\d\.0\.depthwise_conv', "into='ConvNeXt'"),
        CLASSIFICATION,
    ),
    'swin-tiny': Network(
        'mmpretrain',
        'swin_transformer/swin-tiny_16xb64_in1k.py',
        insert(r'stages\.\d', "into='SwinTransformer'"),
        {},  # the windows are larger than the last map of a small picture
    ),
    'timm-resnet50': Network(
        'mmpretrain',
        'resnet/resnet50_8xb32_in1k.py',
        insert(r'timm_model\.layer\d\.0\.conv2', "_delete_=True, into='TIMMBackbone', model_name='resnet50'"),
        CLASSIFICATION,
    ),
    'timm-efficientnet-lite0': Network(
        'mmpretrain',
        'efficientnet/efficientnet-b0_8xb32_in1k.py',
        insert(
            r'timm_model\.blocks\.\d\.0\.conv_dw',
            "_delete_=True, into='TIMMBackbone', model_name='efficientnet_lite0'",
        ),
        CLASSIFICATION,
    ),
    'timm-convnext-tiny': Network(
        'mmpretrain',
        'convnext/convnext-tiny_32xb128_in1k.py',
        insert(r'timm_model\.stages\.\d\.blocks\.0', "_delete_=True, into='TIMMBackbone', model_name='convnext_tiny'"),
        CLASSIFICATION,
        {'model.neck': dict(type='GlobalAveragePooling')},  # mmpretrain's ConvNeXt averages by itself
    ),
    'torchvision-mobilenet-v3-small': Network(
        'mmpretrain',
        'mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py',
        insert(
            r'features\.(1|3|8|11)',
            "_delete_=True, into='Torchvision', name='mobilenet_v3_small'",
        ),
        CLASSIFICATION,
    ),
}

# mmpretrain has no backbone for networks of torchvision.
TORCHVISION = '''
"""The convolutions of a classifier of torchvision, as a backbone of mmpretrain."""

import torchvision
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS


@MODELS.register_module()
class Torchvision(BaseModule):
    def __init__(self, name, weights=None, init_cfg=None):
        super().__init__(init_cfg)
        self.features = torchvision.models.get_model(name, weights=weights).features

    def forward(self, x):
        return (self.features(x),)
'''

# import mmhoga comes first: it supplies what mmcv-lite lacks.
INFERENCE = {
    'mmdet': """
from mmdet.apis import DetInferencer
inferencer = DetInferencer(config, checkpoint, device='cpu')
result = inferencer(picture)['predictions'][0]['scores']
""",
    'mmpose': """
from mmpose.apis import MMPoseInferencer
inferencer = MMPoseInferencer(pose2d=config, pose2d_weights=checkpoint, det_model='whole_image', device='cpu')
result = next(inferencer(picture))['predictions'][0][0]['keypoints']
inferencer = inferencer.inferencer
""",
    'mmpretrain': """
from mmpretrain import ImageClassificationInferencer
inferencer = ImageClassificationInferencer(config, pretrained=checkpoint, device='cpu')
result = inferencer(picture)[0]['pred_scores']
""",
}
# The inferencer has the cells of the checkpoint, and training changed the layer in each that starts at 0.
CHECK = """
import torch
saved, ours = torch.load(checkpoint, weights_only=True)['state_dict'], inferencer.model.state_dict()
cells = [key for key in ours if key.endswith('.hoga.phi.4.weight')]
assert cells and all(saved[key].any() and torch.equal(saved[key], ours[key]) for key in cells)
print(f'{len(cells)} cells, result: {result[:3]}')
"""


def make_data(folder: Path) -> None:
    """Shapes and people in COCO format, and a folder of pictures per class."""
    write_coco(folder / 'shapes', Recipe('shapes', train=IMAGES, val=BATCH, size=64))
    write_coco(folder / 'people', Recipe('people', train=IMAGES, val=BATCH, size=128))
    random = np.random.RandomState(0)
    for split, number in (('train', IMAGES), ('val', BATCH)):
        for index in range(number):
            path = folder / 'classes' / split / SHAPES[index % len(SHAPES)] / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), draw_shapes(random, 64)[0])


def write_configs(network: Network, folder: Path, data: Path) -> Path:
    """Write network.py and small.py, and return the path of the second."""
    folder.mkdir(parents=True, exist_ok=True)
    imports = ['mmhoga']  # needed with mmcv-lite
    if "'Torchvision'" in network.line:
        imports.append('torchvision_backbone')
        (folder / 'torchvision_backbone.py').write_text(TORCHVISION.lstrip())
    lines = [f"_base_ = '{network.host}::{network.config}'", f'custom_imports = dict(imports={imports})', network.line]
    (folder / 'network.py').write_text('\n'.join(lines) + '\n')
    sys.path.insert(0, str(folder))  # for the custom import
    try:
        cfg = Config.fromfile(folder / 'network.py')
    finally:
        sys.path.remove(str(folder))
    make_small(cfg, network, data)
    cfg.dump(folder / 'small.py')
    return folder / 'small.py'


def make_small(cfg: Config, network: Network, data: Path) -> None:
    """Set generated data, small pictures, and an epoch of two iterations."""
    cfg.merge_from_dict(network.change)
    for key in ('model', 'train_dataloader', 'val_dataloader', 'data_preprocessor'):
        if key in cfg:
            cfg[key] = changed(cfg[key], network.sizes)
    for split, loader in (('train', cfg.train_dataloader), ('val', cfg.val_dataloader)):
        loader.update(batch_size=BATCH, num_workers=0, persistent_workers=False)
        dataset = loader.dataset.get('dataset', loader.dataset)  # inside mmdet's MultiImageMixDataset
        dataset.indices = IMAGES  # a picture of people has several
        if network.host == 'mmpretrain':
            loader.dataset = dict(
                type='CustomDataset', data_root=str(data / 'classes'), data_prefix=split, pipeline=dataset.pipeline
            )
        elif network.host == 'mmdet':
            annotations = f'annotations/instances_{split}.json'
            dataset.update(data_root=f'{data}/shapes/', ann_file=annotations, data_prefix=dict(img=f'{split}/'))
            dataset.metainfo = dict(classes=SHAPES)
        else:
            annotations = f'annotations/person_keypoints_{split}.json'
            dataset.update(data_root=f'{data}/people/', ann_file=annotations, data_prefix=dict(img=f'{split}/'))
            dataset.pop('bbox_file', None)  # people found by a detector
    if network.host == 'mmpretrain':
        cfg.val_evaluator.topk = (1,)
    else:
        cfg.val_evaluator.ann_file = dataset.data_root + dataset.ann_file
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.train_cfg.update(max_epochs=1, val_interval=1, dynamic_intervals=None)
    if isinstance(cfg.param_scheduler, list):
        cfg.param_scheduler = cfg.param_scheduler[:1]  # the warm-up: the others begin later
    cfg.default_hooks.checkpoint.interval = 1
    cfg.randomness = dict(seed=0)


def changed(value: Any, sizes: dict[int, int], key: str = '') -> Any:
    """A part of a config with other sizes in pixels, three classes, and without weights to download."""
    if isinstance(value, dict):
        if value.get('type') == 'Pretrained':
            return None
        return type(value)({k: changed(v, sizes, k) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(changed(v, sizes, key) for v in value if not is_missing(v))
    if key == 'num_classes':
        return len(SHAPES)
    in_pixels = ('scale', 'size', 'border', 'crop_size', 'input_size', 'heatmap_size', 'img_scale', 'img_size')
    return sizes.get(value, value) if key in in_pixels and isinstance(value, int) else value


def is_missing(transform: Any) -> bool:
    """Whether a transform needs albumentations, which is not installed."""
    names = ('Albu', 'Albumentation')
    missing = importlib.util.find_spec('albumentations') is None
    return missing and isinstance(transform, dict) and transform.get('type') in names


def tool(host: str) -> str:
    """The path of the host's tools/train.py."""
    spec = importlib.util.find_spec(host)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / '.mim' / 'tools' / 'train.py')


def in_a_process(folder: Path, arguments: list[str]) -> str:
    """Run Python in the folder; the end of its output if it fails, else nothing."""
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'PYTHONPATH': path, 'PYTHONWARNINGS': 'ignore'}
    command = [sys.executable, *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    (folder / 'output.txt').open('a').write(f'{" ".join(command)[:200]}\n{run.stdout}{run.stderr}\n')
    if run.returncode == 0:
        return ''
    lines = (run.stderr.strip() or run.stdout.strip() or f'exit code {run.returncode}').splitlines()
    return next((line for line in reversed(lines) if re.match(r'[\w.]+(Error|Exception)', line)), lines[-1])[:200]


def check_network(network: Network, folder: Path, data: Path, run: Callable[[Path, list[str]], str]) -> dict[str, str]:
    """Train, resume and infer. The seconds of each step, or why it failed; later steps are then left out."""
    small = write_configs(network, folder, data)
    picture = next((data / ('people' if network.host == 'mmpose' else 'shapes') / 'val').iterdir())
    checkpoint = folder / 'run' / 'epoch_2.pth'
    values = f'config, checkpoint, picture = {str(small)!r}, {str(checkpoint)!r}, {str(picture)!r}'
    train = [tool(network.host), str(small), '--work-dir', str(folder / 'run')]
    steps = {
        'trained': train,
        'resumed': [*train, '--resume', '--cfg-options', 'train_cfg.max_epochs=2'],
        'inference': ['-c', f'import mmhoga\n{values}{INFERENCE[network.host]}{CHECK}'],
    }
    results = {}
    for step, arguments in steps.items():
        start = time.perf_counter()
        error = run(folder, arguments)
        if step == 'resumed' and not error:
            error = wrong_iterations(checkpoint)
        results[step] = error or f'{time.perf_counter() - start:.0f} s'
        if error:
            break
    return results


def wrong_iterations(checkpoint: Path) -> str:
    """An error unless the checkpoint is that of 4 iterations."""
    meta = torch.load(checkpoint, weights_only=True, map_location='cpu')['meta']
    return '' if meta['iter'] == 2 * IMAGES // BATCH else f'{meta["iter"]} iterations in {checkpoint.name}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='*', metavar='NETWORK', help=f'default: all of {", ".join(NETWORKS)}')
    parser.add_argument('--folder', help='empty or new folder for all files (default: a temporary one)')
    args = parser.parse_args()
    if unknown := set(args.networks) - set(NETWORKS):
        parser.error(f'no network {", ".join(sorted(unknown))}. There are {", ".join(NETWORKS)}.')
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary).absolute()
        make_data(folder / 'data')
        print('| network | host | trained | resumed | inference |\n|---|---|---|---|---|')
        failed = 0
        for name in args.networks or NETWORKS:
            network = NETWORKS[name]
            results = check_network(network, folder / name, folder / 'data', in_a_process)
            cells = [results.get(step, '-') for step in ('trained', 'resumed', 'inference')]
            print(f'| {name} | {network.host} | {" | ".join(cells)} |', flush=True)
            failed += any(not cell.endswith(' s') for cell in cells)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
