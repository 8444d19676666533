"""Toy models and a toy search config, for tests in this process and in others."""

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS, TRANSFORMS
from torch import nn

from mmhoga.models import SearchableHOGA


class ToyClassifier(BaseModel):
    """Two supernets and a linear head on 8x8 grey images."""

    def __init__(self, num_groups=2, width=8, dropout=0.0, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.stem = nn.Conv2d(1, width, 3, 2, 1)
        self.cells = nn.Sequential(*(SearchableHOGA(width, num_groups=num_groups) for _ in range(2)))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, 10)

    def forward(self, inputs, gt_label=None, mode='tensor'):
        logits = self.fc(self.dropout(self.cells(self.stem(inputs)).mean((2, 3))))
        if mode == 'loss':
            return {'loss': nn.functional.cross_entropy(logits, gt_label)}
        return list(logits) if mode == 'predict' else logits


class ToyResNet(BaseModel):
    """A backbone with stages, and a linear head."""

    def __init__(self, backbone, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.fc = nn.Linear(self.backbone.feat_dim, 10)

    def forward(self, inputs, gt_label=None, mode='tensor'):
        logits = self.fc(self.backbone(inputs)[-1].mean((2, 3)))
        if mode == 'loss':
            return {'loss': nn.functional.cross_entropy(logits, gt_label)}
        return logits


class ToyMetric(BaseMetric):
    """Draws random numbers, as metrics of hosts may."""

    def process(self, data_batch, data_samples):
        self.results.append(torch.rand(()).item())

    def compute_metrics(self, results):
        return {'score': sum(results)}


class ToyPack:
    def __init__(self, offset=0.0):
        self.offset = offset

    def __call__(self, data):
        inputs = torch.from_numpy(data['img']).permute(2, 0, 1) / 255.0
        return {'inputs': inputs + self.offset, 'gt_label': data['gt_label']}


class ToyNoise:
    """Augmentation that draws from torch's generator."""

    def __call__(self, data):
        return {**data, 'inputs': data['inputs'] + 0.1 * torch.randn(())}


def register():
    MODELS.register_module(module=ToyClassifier, force=True)
    METRICS.register_module(module=ToyMetric, force=True)
    for transform in (ToyPack, ToyNoise):
        TRANSFORMS.register_module(module=transform, force=True)


def unregister():
    MODELS.module_dict.pop('ToyClassifier')
    METRICS.module_dict.pop('ToyMetric')
    for name in ('ToyPack', 'ToyNoise'):
        TRANSFORMS.module_dict.pop(name)


def search_config(work_dir):
    """A search on 48 digits, with three iterations per epoch."""

    def loader(part):
        return dict(
            batch_size=8,
            num_workers=0,
            dataset=dict(
                type='mmhoga.RandomSplit',
                part=part,
                dataset=dict(type='mmhoga.Digits', split='test', indices=48, pipeline=[dict(type='ToyPack')]),
            ),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        )

    return Config(
        dict(
            model=dict(type='mmhoga.SearchModel', architecture=dict(type='ToyClassifier')),
            work_dir=str(work_dir),
            train_dataloader=loader('A'),
            train_cfg=dict(type='mmhoga.SearchLoop', alpha_dataloader=loader('B'), max_epochs=2),
            optim_wrapper=dict(
                constructor='mmhoga.SearchOptimWrapperConstructor',
                weights=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=3e-4)),
                alpha=dict(optimizer=dict(type='Adam', lr=3e-2, betas=(0.5, 0.999))),
            ),
            param_scheduler=dict(weights=[dict(type='CosineAnnealingLR', T_max=2, eta_min=1e-3, by_epoch=True)]),
            custom_hooks=[dict(type='mmhoga.GenotypeHook')],
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            randomness=dict(seed=0),
        )
    )
