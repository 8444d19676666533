"""The paper's search at a size for two CPU cores: ResNet-8 on handwritten digits, a minute or two.

    python tools/train.py configs/search/hoga-search_resnet8_1xb64-8e_digits.py

It ends with genotype.json in its work_dir. Against the paper's search (hoga-search_resnet20_1xb128-100e_cifar10.py): a
smaller network and data set, fewer epochs, and higher learning rates, since it takes only a few hundred steps.
"""

_base_ = [
    '../_base_/models/resnet8_digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/digits_runtime.py',
]

model = dict(
    _delete_=True,
    type='mmhoga.SearchModel',
    architecture=dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmhoga.CIFARResNet',
            depth=8,
            in_channels=1,
            base_channels=16,
            plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=4), position='after_conv2')],
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
    ),
)

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type='mmhoga.RandomSplit',
        part='A',
        dataset=dict(type='mmhoga.Digits', split='train', pipeline={{_base_.train_pipeline}}),
    ),
)
alpha_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(
        type='mmhoga.RandomSplit',
        part='B',
        dataset=dict(type='mmhoga.Digits', split='train', pipeline={{_base_.train_pipeline}}),
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

train_cfg = dict(type='mmhoga.SearchLoop', alpha_dataloader=alpha_dataloader, max_epochs=8)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    constructor='mmhoga.SearchOptimWrapperConstructor',
    weights=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=3e-4),
        clip_grad=dict(max_norm=5),
    ),
    alpha=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-2, betas=(0.5, 0.999))),
)
param_scheduler = dict(weights=[dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=8)])
auto_scale_lr = dict(base_batch_size=64)

custom_hooks = [dict(type='mmhoga.GenotypeHook')]
