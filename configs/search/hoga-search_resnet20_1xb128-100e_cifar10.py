"""The paper's search (section 4.2): HOGA with K = 4 in ResNet-20 of width 16 on CIFAR-10.

    mmhoga train configs/search/hoga-search_resnet20_1xb128-100e_cifar10.py

trainA and trainB are random halves of the training set. The validation after each epoch runs the supernet on the test
set for the log only; it does not influence the search.

Cost:   paper: less than 1 GPU day. Not measured here.
Paper:  the genotype of Fig. 3, 'autola' in this package. Not measured here.

From the paper: the network, the halves, 100 epochs, batch 128, SGD with momentum 0.9 and decay 3e-4, cosine from 0.025
to 0.001, alpha ~ 1e-3 N(0, 1), first order. From the authors' code: the optimizer of alpha, and clipping at 5.
"""

_base_ = ['../cifar10/hoga-resnet20_1xb256-500e_cifar10.py', '../_base_/schedules/search.py']

model = dict(_delete_=True, type='mmhoga.SearchModel', architecture={{_base_.model}})
train_dataloader = dict(batch_size=128, drop_last=True)
train_cfg = dict(_delete_=True, type='mmhoga.SearchLoop', max_epochs=100, split=dict(fraction=0.5, seed=0))
optim_wrapper = dict(_base_.search_optim_wrapper, _delete_=True)
param_scheduler = dict(_delete_=True, weights=[dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=100)])
auto_scale_lr = dict(base_batch_size=128)
default_hooks = dict(checkpoint=dict(interval=1))
randomness = dict(seed=0)
