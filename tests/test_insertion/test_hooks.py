"""The hooks in trainings of a small classifier on handwritten digits."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

pytest.importorskip('mmpretrain')

from mmhoga.insertion import AdapterError, AdapterHook, CellNormHook, cells_of, load_adapter
from mmhoga.insertion.norms import cell_norms
from mmhoga.models import HOGA

BACKBONE = dict(type='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=8)
ADAPTER = dict(type='mmhoga.AdapterHook')
CELL = dict(type='mmhoga.HOGA', genotype=[['skip_connect'], ['norm_3x3', 'spatial_3x3']])
NORMS = dict(type='mmhoga.CellNormHook', num_batches=2)


def model(backbone):
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(num_classes=10, mean=[78.0], std=[96.0], to_rgb=False),
        backbone=backbone,
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=32),
    )


def config(work_dir, *hooks, **changes):
    """Two epochs of three iterations; the whole model but its cells is frozen."""
    whole = dict(type='mmhoga.Insert', into=model(BACKBONE), cell=CELL, after=r'backbone\.layer[23]')
    loader = dict(
        batch_size=8,
        num_workers=0,
        dataset=dict(type='mmhoga.Digits', split='test', indices=24, pipeline=[dict(type='mmpretrain.PackInputs')]),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(whole, train_only='cells'),
            work_dir=str(work_dir),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            custom_hooks=list(hooks),
            randomness=dict(seed=0),
            log_level='INFO',
            experiment_name=f'{work_dir}{len(hooks)}{changes}'.replace('/', '_'),
        )
    )
    for key, value in changes.items():
        *parents, last = key.split('__')
        target = cfg
        for parent in parents:
            target = target[parent]
        target[last] = value
    return cfg


@pytest.fixture
def base(tmp_path):
    """A checkpoint of the plain classifier."""
    DefaultScope.get_instance('plain', scope_name='mmpretrain')
    torch.manual_seed(3)
    path = tmp_path / 'base.pth'
    plain = MODELS.build(model(BACKBONE))
    plain.init_weights()
    torch.save({'state_dict': plain.state_dict()}, path)
    return path


def plain(base):
    network = MODELS.build(model(BACKBONE))
    network.load_state_dict(torch.load(base)['state_dict'])
    return network.eval()


class Watch(Hook):
    """Records the data and the random state of each iteration, and the statistics at the first."""

    priority = 'LOWEST'

    def __init__(self):
        self.batches, self.states, self.statistics = [], [], None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append(data_batch['inputs'].clone())
        self.states.append(torch.get_rng_state())
        if self.statistics is None:
            self.statistics = [norm.running_mean.clone() for norm in cell_norms(runner.model)]


def train(cfg):
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    return runner, watch


def test_a_training_saved_and_loaded_over_its_base(tmp_path, base):
    runner, watch = train(config(tmp_path / 'run', NORMS, ADAPTER, load_from=str(base)))
    trained = runner.model.eval()
    images = watch.batches[0].float()
    files = sorted(path.name for path in (tmp_path / 'run').glob('*.safetensors'))
    assert files == ['adapter_epoch_1.safetensors', 'adapter_epoch_2.safetensors']
    network = load_adapter(plain(base), tmp_path / 'run' / files[-1])
    assert torch.equal(network(images), trained(images))
    assert not torch.equal(network(images), plain(base)(images)), 'the cells have learned'
    assert not torch.equal(load_adapter(plain(base), tmp_path / 'run' / files[0])(images), trained(images))
    other = plain(base)
    torch.nn.init.ones_(other.head.fc.bias[:1])
    with pytest.raises(AdapterError, match=r'1 of the .* tensors of the base differ, the first is head\.fc\.bias'):
        load_adapter(other, tmp_path / 'run' / files[-1])


@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=4),
            train_dataloader__sampler=dict(type='InfiniteSampler', shuffle=True),
            train_dataloader__num_workers=1,
        ),
    ],
)
def test_the_training_sees_the_same_data_as_without_the_hook(tmp_path, base, changes):
    changes = dict(changes, load_from=str(base))
    _, without = train(config(tmp_path / 'without', **changes))
    _, with_hook = train(config(tmp_path / 'with', NORMS, **changes))
    assert all(torch.equal(a, b) for a, b in zip(without.batches, with_hook.batches))
    assert all(torch.equal(a, b) for a, b in zip(without.states, with_hook.states))
    assert len(without.batches) == len(with_hook.batches) > 2
    assert not any(statistics.any() for statistics in without.statistics)
    assert all(statistics.any() for statistics in with_hook.statistics)


def test_a_resumed_training_keeps_its_statistics_and_its_list_of_files(tmp_path, base):
    keep = dict(ADAPTER, max_keep_ckpts=2)
    train(config(tmp_path / 'run', NORMS, keep, load_from=str(base)))
    checkpoint = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=False)
    longer = dict(by_epoch=True, max_epochs=4)
    _, watch = train(config(tmp_path / 'run', NORMS, keep, resume=True, train_cfg=longer))
    stored = [v for k, v in checkpoint['state_dict'].items() if '.hoga.' in k and k.endswith('.running_mean')]
    assert len(stored) == len(watch.statistics)
    assert all(torch.equal(*pair) for pair in zip(stored, watch.statistics))
    files = sorted(path.name for path in (tmp_path / 'run').glob('adapter*'))
    assert files == ['adapter_epoch_3.safetensors', 'adapter_epoch_4.safetensors']


@pytest.mark.parametrize(
    ('hook', 'steps'),
    [
        (dict(ADAPTER, interval=4, by_epoch=False), [4, 6]),
        (dict(ADAPTER, interval=4, by_epoch=False, save_last=False), [4]),
        (dict(ADAPTER, interval=1, by_epoch=False, max_keep_ckpts=1), [6]),
    ],
)
def test_by_iterations(tmp_path, hook, steps):
    train(config(tmp_path / 'run', hook))
    files = sorted(path.name for path in (tmp_path / 'run').glob('adapter*'))
    assert files == [f'adapter_iter_{step}.safetensors' for step in steps]


@pytest.mark.parametrize('buffers', [False, True])
def test_averaged_weights(tmp_path, base, buffers):
    """The adapter and the state_dict of the checkpoint have the averaged weights, and the base is unchanged."""
    average = dict(type='EMAHook', momentum=0.3, update_buffers=buffers)
    runner, watch = train(config(tmp_path / 'run', ADAPTER, average, load_from=str(base)))
    images = watch.batches[0].float()
    averaged = copy.deepcopy(runner.model)
    averaged.load_state_dict(torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=False)['state_dict'])
    network = load_adapter(plain(base), tmp_path / 'run' / 'adapter_epoch_2.safetensors')
    assert torch.equal(network(images), averaged.eval()(images))
    assert not torch.equal(network(images), runner.model.eval()(images))


class Diverge(Hook):
    def after_train_epoch(self, runner):
        if runner.epoch == 0:
            torch.nn.init.constant_(next(iter(cells_of(runner.model).values())).phi[-1].bias, torch.nan)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    cfg = config(tmp_path / 'run', ADAPTER)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Diverge(), priority='NORMAL')
    runner.train()
    assert not list((tmp_path / 'run').glob('adapter*'))
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert 'AdapterHook: The adapter was not saved' in log


def test_a_model_without_cells(tmp_path):
    cfg = config(tmp_path / 'run', NORMS, ADAPTER)
    cfg.model = model(BACKBONE)
    with pytest.raises(AdapterError, match=r'AdapterHook: ImageClassifier has no inserted cell'):
        Runner.from_cfg(cfg).train()
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert 'CellNormHook: ImageClassifier has no cell with batch norms' in log


def test_the_log(tmp_path):
    cfg = config(tmp_path / 'run', NORMS, ADAPTER)
    cfg.model.pop('train_only')
    cfg.train_cfg.max_epochs = 1
    runner, _ = train(cfg)
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    norms = len(cell_norms(runner.model))
    assert norms > 3
    assert f'estimated the statistics of {norms} batch norms in the cells on 2 batches' in log
    assert "Set train_only='cells'" in log


def test_a_loss_that_needs_training_mode(tmp_path):
    """Such a head of mmdet fails in eval mode, after the norms have run; an error before is not hidden."""

    class Classifier(torch.nn.Module):
        data_preprocessor = staticmethod(lambda data, training: data)

        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), HOGA(8))

        def forward(self, inputs, mode):
            self.body(inputs)
            if not self.training:
                raise TypeError('loss() missing 1 required positional argument')

    network = Classifier()
    loader = torch.utils.data.DataLoader([{'inputs': torch.rand(3, 6, 6)}] * 4, batch_size=2)
    loaders = dict(_train_dataloader=loader, train_dataloader=loader)
    runner = SimpleNamespace(iter=0, model=network, _randomness_cfg={}, **loaders)
    CellNormHook().before_train(runner)
    assert all(norm.running_mean.any() for norm in cell_norms(network))
    network.body[0] = torch.nn.Identity()
    with pytest.raises(ValueError, match='built for 8 channels'):
        CellNormHook().before_train(runner)


def test_arguments():
    with pytest.raises(ValueError, match='num_batches must be at least 1, not 0'):
        CellNormHook(0)
    with pytest.raises(ValueError, match='interval must be at least 1, not -1'):
        AdapterHook(-1)
