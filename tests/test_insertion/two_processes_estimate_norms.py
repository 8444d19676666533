"""One of two processes that train a small network with CellNormHook. test_norm_processes.py starts both."""

import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch import nn

import mmhoga
from mmhoga.cli.run import distributed
from mmhoga.insertion import estimate_norms
from mmhoga.insertion.norms import cell_norms


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        return {'inputs': torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index))}


class Small(BaseModel):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)

    def extract_feat(self, inputs):
        return self.stem(inputs)

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.extract_feat(inputs).square().mean()}


def network():
    torch.manual_seed(0)
    return mmhoga.insert(Small(), dict(type='mmhoga.HOGA'), after='stem')


def statistics(model):
    return [tensor.clone() for norm in cell_norms(model) for tensor in (norm.running_mean, norm.running_var)]


class Watch(Hook):
    priority = 'LOWEST'

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.batches:
            self.statistics = statistics(runner.model.module)
        self.batches.append(data_batch['inputs'].clone())


def main(folder):
    DATASETS.register_module(module=Images)
    MODELS.register_module(name='SmallNetwork', module=network)
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='Images'),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    cfg = Config(
        dict(
            model=dict(type='SmallNetwork'),
            work_dir=str(folder / 'run'),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
            custom_hooks=[dict(type='mmhoga.CellNormHook'), dict(type='mmhoga.AdapterHook')],
            launcher='pytorch',
            randomness=dict(seed=0),
        )
    )
    distributed.prepare(cfg)
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    results = {'batches': watch.batches, 'statistics': watch.statistics}
    model = network()  # the second process has fewer batches
    results['count'] = estimate_norms(model, watch.batches[: 2 - get_rank()], lambda net, batch: net(batch))
    results['uneven'] = statistics(model)
    torch.save(results, folder / f'rank{get_rank()}.pth')
    distributed.leave()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
