"""The paper's search (section 4.2): HOGA with K = 4 in ResNet-20 of width 16 on CIFAR-10.

    mmhoga train configs/search/hoga-search_resnet20_1xb128-100e_cifar10.py

trainA and trainB are random halves of the training set. The validation after each epoch runs the supernet on the test
set for the log only; it does not influence the search.

Cost:   paper: less than 1 GPU day. Not measured here.
Paper:  the genotype of Fig. 3, 'autola' in this package. Not measured here.

From the paper: the network, the halves, 100 epochs, batch 128, SGD with momentum 0.9 and decay 3e-4, cosine from 0.025
to 0.001, alpha ~ 1e-3 N(0, 1), first order. From the authors' code: the optimizer of alpha, and clipping at 5.
"""

_base_ = [
    '../_base_/supernets/resnet20_cifar10.py',
    'mmpretrain::_base_/datasets/cifar10_bs16.py',
    '../_base_/schedules/search.py',
    'mmpretrain::_base_/default_runtime.py',
]

data_preprocessor = dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7])

model = dict(_delete_=True, type='mmhoga.SearchModel', architecture={{_base_.model}})

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    dataset=dict(_delete_=True, type='mmhoga.RandomSplit', part='A', dataset={{_base_.train_dataloader.dataset}}),
    collate_fn=dict(type='default_collate'),
)
alpha_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    dataset=dict(type='mmhoga.RandomSplit', part='B', dataset={{_base_.train_dataloader.dataset}}),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader

train_cfg = dict(type='mmhoga.SearchLoop', alpha_dataloader=alpha_dataloader, max_epochs=100)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(alpha=dict(optimizer=dict(weight_decay=1e-3)))
param_scheduler = dict(weights=[dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=100)])
auto_scale_lr = dict(base_batch_size=128)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
custom_hooks = [dict(type='mmhoga.GenotypeHook')]
randomness = dict(seed=0)
