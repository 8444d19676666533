"""The paper's search at a size for two CPU cores: ResNet-8 on handwritten digits.

    mmhoga train configs/search/hoga-search_resnet8_1xb64-8e_digits.py

The network, the data set and the number of epochs are smaller than in the paper's search
(hoga-search_resnet20_1xb128-100e_cifar10.py), and the learning rates higher, since it takes only 96 steps.

Cost:   50 seconds on one CPU core.
Paper:  no number.
"""

_base_ = [
    '../_base_/supernets/resnet8_digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/search.py',
    '../_base_/digits_runtime.py',
]

model = dict(_delete_=True, type='mmhoga.SearchModel', architecture={{_base_.model}})

train_dataloader = dict(
    batch_size=64,
    dataset=dict(_delete_=True, type='mmhoga.RandomSplit', part='A', dataset={{_base_.train_dataloader.dataset}}),
)
alpha_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='mmhoga.RandomSplit', part='B', dataset={{_base_.train_dataloader.dataset}}),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

train_cfg = dict(type='mmhoga.SearchLoop', alpha_dataloader=alpha_dataloader, max_epochs=8)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(weights=dict(optimizer=dict(lr=0.1)), alpha=dict(optimizer=dict(lr=3e-2)))
param_scheduler = dict(weights=[dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=8)])
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [dict(type='mmhoga.GenotypeHook')]
