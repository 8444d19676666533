"""A training step of Faster R-CNN (ResNet-50-FPN) with each attention, with its optimizer: 2 images of 800 x 1344."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from on_gpu.config import ROOT
from on_gpu.measure import Run, seconds, times, work
from on_gpu.results import Results

from mmhoga.hosts import build_model, load_config

CONFIGS = {
    'plain': 'faster-rcnn_r50_fpn_4xb2-14e_coco.py',
    'SE': 'faster-rcnn_r50-se_fpn_4xb2-14e_coco.py',
    'CBAM': 'faster-rcnn_r50-cbam_fpn_4xb2-14e_coco.py',
    'HOGA': 'faster-rcnn_r50-hoga_fpn_4xb2-14e_coco.py',
}


def measure(results: Results) -> None:
    sides: dict[str, Run] = {}
    for name, config in CONFIGS.items():
        if results.toy and name not in ('plain', 'HOGA'):
            continue
        with results.attempt(network=name):
            run = step(str(ROOT / 'configs/detection' / config), results)
            results.row(network=name, loss=float(run()['loss']))
            sides[name] = run
    taken = seconds(sides, results.device, rounds=1 if results.toy else 9)
    for name, run in sides.items():
        with results.attempt(network=name):
            base = taken.get('plain', taken[name])
            results.row(network=name, **times(taken[name], base), **work(run, results.device))


def step(config: str, results: Results) -> Run:
    """A function that takes one training step."""
    cfg = load_config(config)
    cfg.model.backbone.update(init_cfg=None, frozen_stages=-1, norm_eval=False)  # no checkpoint to start from
    if results.toy:
        cfg.model.backbone.update(depth=18, stem_channels=8, base_channels=8)
        cfg.model.neck.in_channels = [8, 16, 32, 64]
    torch.manual_seed(0)
    model = build_model(cfg)
    model.init_weights()
    model = model.to(results.device).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)
    wrapper = OptimWrapper(optimizer)
    data = batch((64, 96) if results.toy else (800, 1344))
    return lambda: model.train_step(data, wrapper)


def batch(size: tuple[int, int]) -> dict[str, Any]:
    """Two images of noise with 8 boxes each, as mmdet's pipelines pack them."""
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(0)
    height, width = size
    inputs, samples = [], []
    for index in range(2):
        inputs.append(torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator))
        corners = torch.rand(8, 2, generator=generator) * torch.tensor([width * 0.6, height * 0.6])
        extents = (0.1 + 0.3 * torch.rand(8, 2, generator=generator)) * torch.tensor([width, height])
        boxes = torch.cat([corners, corners + extents], dim=1)
        sample = DetDataSample(
            metainfo=dict(img_id=index, img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), flip=False)
        )
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.randint(80, (8,), generator=generator))
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=torch.zeros(0, dtype=torch.int64))
        samples.append(sample)
    return {'inputs': inputs, 'data_samples': samples}
