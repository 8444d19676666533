"""The paper's search (section 4.2): HOGA with K = 4 in ResNet-20 of width 16 on CIFAR-10.

    python tools/train.py configs/search/hoga-search_resnet20_1xb128-100e_cifar10.py

trainA and trainB are random halves of the training set; the validation after each epoch is of the supernet on the test
set, for the log alone: nothing is chosen by it.

Cost:   paper: less than 1 GPU day. Not measured here.
Result: paper: the genotype of Fig. 3, here 'autola'.

Stated by the paper: the network, the halves, 100 epochs, batch 128, SGD with momentum 0.9, decay 3e-4, cosine from
0.025 to 0.001, alpha ~ 1e-3 N(0, 1), first order. From the released code: the optimizer of alpha, clipping at 5.
"""

_base_ = [
    'mmpretrain::_base_/datasets/cifar10_bs16.py',
    'mmpretrain::_base_/default_runtime.py',
]

data_preprocessor = dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7])

model = dict(
    type='mmhoga.SearchModel',
    architecture=dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmhoga.CIFARResNet',
            depth=20,
            base_channels=16,
            plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=4), position='after_conv2')],
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
    ),
)

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    dataset=dict(
        _delete_=True,
        type='mmhoga.RandomSplit',
        part='A',
        dataset=dict(type='CIFAR10', data_root='data/cifar10', split='train', pipeline={{_base_.train_pipeline}}),
    ),
    collate_fn=dict(type='default_collate'),
)
alpha_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    dataset=dict(
        type='mmhoga.RandomSplit',
        part='B',
        dataset=dict(type='CIFAR10', data_root='data/cifar10', split='train', pipeline={{_base_.train_pipeline}}),
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader

train_cfg = dict(type='mmhoga.SearchLoop', alpha_dataloader=alpha_dataloader, max_epochs=100)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    constructor='mmhoga.SearchOptimWrapperConstructor',
    weights=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.025, momentum=0.9, weight_decay=3e-4),
        clip_grad=dict(max_norm=5),
    ),
    alpha=dict(
        type='OptimWrapper',
        optimizer=dict(type='Adam', lr=3e-3, betas=(0.5, 0.999), weight_decay=1e-3),
    ),
)
param_scheduler = dict(weights=[dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=100)])
auto_scale_lr = dict(base_batch_size=128)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
custom_hooks = [dict(type='mmhoga.GenotypeHook')]
randomness = dict(seed=0)
