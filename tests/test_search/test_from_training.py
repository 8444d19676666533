"""Configs of searches from configs of trainings, key by key; and what cannot be searched."""

import copy

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from mmhoga.hosts import load_config
from mmhoga.search import SearchError, search_config
from mmhoga.search.stretch import Stretch

SGD = dict(type='SGD', lr=0.025, momentum=0.9, weight_decay=3e-4)
ADAM = dict(type='Adam', lr=3e-3, betas=(0.5, 0.999), weight_decay=1e-3)
PAPER = dict(
    constructor='mmhoga.SearchOptimWrapperConstructor',
    weights=dict(type='OptimWrapper', optimizer=SGD, clip_grad=dict(max_norm=5.0)),
    alpha=dict(type='OptimWrapper', optimizer=ADAM),
)


def training(**changes):
    """A training of 20 epochs with 8 images per step."""
    plugins = [dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')]
    return Config(
        {
            'model': dict(backbone=dict(plugins=plugins)),
            'train_dataloader': dict(batch_size=8, dataset=dict(type='D'), sampler=dict(type='DefaultSampler')),
            'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=20),
            'optim_wrapper': dict(optimizer=dict(type='AdamW', lr=1e-3)),
            **changes,
        }
    )


def notes_of(cfg, **choices):
    notes = []
    return search_config(cfg, log=notes.append, **choices), notes


TRAININGS = {
    'mmpretrain': 'digits/hoga-resnet8_1xb96-8e_digits',
    'mmdet': 'demo/hoga-rtmdet_1xb8-10e_shapes',
    'mmpose': 'demo/hoga-td-hm_r18_1xb16-10e_people',
}
CHANGED = {'model', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr'}


@pytest.mark.parametrize('host', TRAININGS)
def test_key_by_key(root, host):
    """The default is section 4.2. Keys that are not listed here stay; the training is not changed."""
    pytest.importorskip(host)
    cfg = load_config(str(root / f'configs/{TRAININGS[host]}.py'))
    before = copy.deepcopy(cfg.to_dict())
    search = search_config(cfg)
    assert cfg.to_dict() == before
    assert search.model == dict(type='mmhoga.SearchModel', architecture=cfg.model)
    interval = dict(mmpretrain=1, mmdet=2, mmpose=2)[host]
    assert search.filename == cfg.filename
    assert search.train_cfg == dict(
        type='mmhoga.SearchLoop', max_epochs=100, split=dict(fraction=0.5, seed=0), val_interval=interval
    )
    assert search.optim_wrapper == PAPER
    cosine = dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=100)
    assert search.param_scheduler == dict(weights=[cosine])
    assert search.auto_scale_lr == dict(base_batch_size=128)
    assert {key for key in {*cfg, *search} if search.get(key) != cfg.get(key)} == CHANGED
    init_default_scope(host)
    model = MODELS.build(search.model)
    assert build_optim_wrapper(model, search.optim_wrapper)['alpha'].optimizer.param_groups[0]['betas'] == (0.5, 0.999)


def test_every_choice():
    search = search_config(
        training(randomness=dict(deterministic=True)),
        epochs=6,
        num_groups=2,
        primitives=['se', 'cbam'],
        alpha_per='stage',
        cost=dict(metric='macs', weight=0.1, input_shape=(3, 32, 32)),
        placement=dict(num_groups=[2, 4]),
        fraction=0.6,
        split_seed=3,
        seed=4,
        batch_size=16,
        alpha_batch_size=4,
        stage_pattern=r'layer\d',
        val_loss=True,
        lr=0.1,
        min_lr=0.01,
        momentum=0.8,
        weight_decay=1e-4,
        clip_grad=None,
        alpha_lr=0.03,
        alpha_betas=[0.9, 0.99],
        alpha_weight_decay=0.0,
        order=2,
        hessian='exact',
        unroll='joint',
        warmup_epochs=2,
        temperature=dict(start=10, end=0.1),
        sampling='gumbel',
        selection=dict(method='score', candidates=3),
    )
    assert {key: value for key, value in search.model.items() if key != 'architecture'} == dict(
        type='mmhoga.SearchModel',
        num_groups=2,
        primitives=['se', 'cbam'],
        alpha_per='stage',
        stage_pattern=r'layer\d',
        val_loss=True,
        cost=dict(metric='macs', weight=0.1, input_shape=(3, 32, 32)),
        placement=dict(num_groups=[2, 4]),
    )
    assert search.train_cfg == dict(
        type='mmhoga.SearchLoop',
        max_epochs=6,
        split=dict(fraction=0.6, seed=3),
        alpha_dataloader=dict(batch_size=4),
        val_interval=1,
        order=2,
        hessian='exact',
        unroll='joint',
        warmup_epochs=2,
        temperature=dict(start=10, end=0.1),
        sampling='gumbel',
        selection=dict(method='score', candidates=3),
    )
    assert search.randomness == dict(deterministic=True, seed=4)
    assert search.train_dataloader.batch_size == 16
    assert search.optim_wrapper.weights == dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.8, weight_decay=1e-4)
    )
    assert search.optim_wrapper.alpha.optimizer == dict(type='Adam', lr=0.03, betas=(0.9, 0.99), weight_decay=0.0)
    assert search.param_scheduler.weights == [dict(type='CosineAnnealingLR', eta_min=0.01, by_epoch=True, T_max=6)]


def test_the_optimizer_and_the_schedule_of_the_training():
    """Epochs 20 -> 10; an epoch has 0.75 * 8 / 4 = 1.5 times the iterations, so 40 of them become 30."""
    wrapper = dict(
        type='AmpOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3), loss_scale=512.0, paramwise_cfg=dict()
    )
    schedule = [
        dict(type='LinearLR', by_epoch=False, begin=0, end=40),
        dict(type='CosineAnnealingLR', begin=5, end=20, T_max=15, convert_to_iter_based=True),
        dict(type='MultiStepLR', milestones=[3, 16], gamma=0.1),
    ]
    cfg = training(optim_wrapper=wrapper, param_scheduler=schedule, auto_scale_lr=dict(base_batch_size=32))
    search = search_config(cfg, optimizer='training', epochs=10, fraction=0.75, batch_size=4)
    assert search.optim_wrapper.weights == wrapper
    assert search.optim_wrapper.alpha == dict(type='AmpOptimWrapper', loss_scale=512.0, optimizer=ADAM)
    assert search.param_scheduler.weights == [
        dict(type='LinearLR', by_epoch=False, begin=0, end=30),
        dict(type='CosineAnnealingLR', begin=2, end=10, T_max=8, convert_to_iter_based=True),
        dict(type='MultiStepLR', milestones=[2, 8], gamma=0.1),
    ]
    assert search.auto_scale_lr == dict(base_batch_size=32)
    assert cfg.param_scheduler == schedule
    assert search_config(training(), optimizer='training').train_cfg.max_epochs == 20
    assert search_config(training(), optimizer='training').param_scheduler.weights == []


def test_a_stretched_schedule_is_the_schedule_at_the_same_share_of_the_run():
    stretch = Stretch(5, 20, 0.5)
    assert stretch.schedulers(dict(type='ExponentialLR', gamma=0.5)) == [dict(type='ExponentialLR', gamma=0.5**4)]
    assert stretch.schedulers(dict(type='StepLR', step_size=8, gamma=0.1)) == [
        dict(type='StepLR', step_size=2, gamma=0.1)
    ]
    steps = dict(type='OneCycleLR', total_steps=800, by_epoch=False)
    assert stretch.schedulers(steps) == [{**steps, 'total_steps': 100}]
    short = dict(type='LinearLR', begin=0, end=1)
    assert stretch.schedulers([short, {**short, 'begin': 1, 'end': 2}]) == [short, {**short, 'begin': 1, 'end': 2}]
    assert Stretch(20, 20, 1).schedulers(short) == [short]


def test_mixed_precision_stays():
    cfg = training(optim_wrapper=dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=1), dtype='bfloat16'))
    wrapper = search_config(cfg).optim_wrapper
    assert wrapper.weights == {**PAPER['weights'], 'type': 'AmpOptimWrapper', 'dtype': 'bfloat16'}
    assert wrapper.alpha == {**PAPER['alpha'], 'type': 'AmpOptimWrapper', 'dtype': 'bfloat16'}


def test_a_training_that_counts_iterations():
    cfg = training(
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=100),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100, max_keep_ckpts=5, save_best='auto'),
            logger=dict(type='LoggerHook', log_metric_by_epoch=False),
        ),
        log_processor=dict(by_epoch=False),
    )
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    search, notes = notes_of(cfg, batch_size=128)
    assert search.train_cfg.max_epochs == 100 and search.train_cfg.val_interval == 1
    assert search.train_dataloader.sampler == dict(type='DefaultSampler', shuffle=True)
    assert search.default_hooks.checkpoint == dict(
        type='CheckpointHook', by_epoch=True, interval=1, max_keep_ckpts=5, save_best='auto'
    )
    assert search.default_hooks.logger == dict(type='LoggerHook') and search.log_processor.by_epoch
    assert [note.split()[0] for note in notes] == ['InfiniteSampler', 'The'] and 'counts iterations' in notes[1]
    with pytest.raises(SearchError, match='counts iterations, so that its schedule cannot be stretched'):
        search_config(cfg, optimizer='training')


def test_hooks():
    hooks = [
        dict(type='EMAHook', momentum=1e-4),
        dict(type='mmdet.PipelineSwitchHook', switch_epoch=15, switch_pipeline=[]),
        dict(type='EarlyStoppingHook'),
        dict(type='NumClassCheckHook'),
        dict(type='YOLOXModeSwitchHook'),
    ]
    search, notes = notes_of(training(custom_hooks=hooks), epochs=10, batch_size=128)
    assert search.custom_hooks == [{**hooks[1], 'switch_epoch': 8}, hooks[3]]
    assert [note.split()[0] for note in notes] == [
        'EMAHook', 'PipelineSwitchHook', 'EarlyStoppingHook', 'YOLOXModeSwitchHook'
    ]  # fmt: skip
    assert notes[1] == 'PipelineSwitchHook switches after 8 of 10 epochs.'
    by_iterations = training(custom_hooks=hooks[1:2], train_cfg=dict(by_epoch=False, max_iters=10))
    search, notes = notes_of(by_iterations)
    assert search.custom_hooks == [] and 'PipelineSwitchHook is left out' in notes[-1]


def test_the_validation_stays():
    cfg = training(
        train_cfg=dict(by_epoch=True, max_epochs=300, val_begin=250, val_interval=10, dynamic_intervals=[(280, 1)])
    )
    loop = search_config(cfg, epochs=40).train_cfg
    assert (loop.val_begin, loop.val_interval, 'dynamic_intervals' in loop) == (40, 10, False)


def test_where_results_and_weights_come_from():
    """``load_from`` stays: SearchModel loads the weights of a training. Its work_dir and its ``resume`` do not."""
    search = search_config(training(load_from='a.pth', resume=True, work_dir='w'))
    assert search.load_from == 'a.pth' and not search.resume and 'work_dir' not in search


def test_types_that_are_classes():
    """As in mmengine's pure Python configs."""
    from mmengine.hooks import EMAHook
    from mmengine.runner import IterBasedTrainLoop

    cfg = training(custom_hooks=[dict(type=EMAHook)], train_cfg=dict(type=IterBasedTrainLoop, max_iters=3))
    search, notes = notes_of(cfg)
    assert search.custom_hooks == [] and any('counts iterations' in note for note in notes)


@pytest.mark.parametrize(
    ('changes', 'choices', 'message'),
    [
        (
            dict(train_dataloader=None, optim_wrapper=None),
            {},
            'it has no train_dataloader, no optim_wrapper',
        ),
        (dict(model=dict(type='mmhoga.SearchModel')), {}, 'a search already: mmhoga train runs it'),
        (dict(model=dict(type='ResNet')), {}, r'no cell of type mmhoga.HOGA .* mmhoga places'),
        (dict(runner_type='FlexibleRunner'), {}, 'sets runner_type or strategy'),
        ({}, dict(optimizer='adam'), "one of 'paper' and 'training', not 'adam'"),
        ({}, dict(optimizer='training', lr=0.1, momentum=0.5), 'lr, momentum: set it in the training'),
        (dict(optim_wrapper=dict(generator=1)), dict(optimizer='training'), 'several optimizers'),
        (
            dict(optim_wrapper=dict(optimizer=1, constructor='LearningRateDecayOptimWrapperConstructor')),
            dict(optimizer='training'),
            'LearningRateDecayOptimWrapperConstructor, which needs the names of its own model',
        ),
    ],
)
def test_what_cannot_be_searched(changes, choices, message):
    with pytest.raises(SearchError, match=message):
        search_config(training(**changes), **choices)


def test_batches_of_another_size_are_said_aloud(caplog):
    _, notes = notes_of(training())
    assert notes == [
        'The learning rate of the weights is for batches of 128 images, as in the paper; here a process takes 8. '
        '--auto-scale-lr scales it.'
    ]
    assert notes_of(training(), batch_size=128)[1] == [] == notes_of(training(), optimizer='training')[1]
    assert isinstance(search_config(training()).model, ConfigDict)
