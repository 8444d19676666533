"""The paper's search at a size for two CPU cores: ResNet-8 on handwritten digits.

    mmhoga train configs/search/hoga-search_resnet8_1xb64-8e_digits.py

The network, the data set and the number of epochs are smaller than in the paper's search
(hoga-search_resnet20_1xb128-100e_cifar10.py), and the learning rates higher, since it takes only 96 steps.

Cost:   50 seconds on one CPU core.
Paper:  no number.
"""

_base_ = ['../digits/hoga-resnet8_1xb96-8e_digits.py', '../_base_/schedules/search.py']

model = dict(_delete_=True, type='mmhoga.SearchModel', architecture={{_base_.model}})
train_dataloader = dict(batch_size=64)
train_cfg = dict(_delete_=True, type='mmhoga.SearchLoop', max_epochs=8, split=dict(fraction=0.5, seed=0))
optim_wrapper = dict(_base_.search_optim_wrapper, _delete_=True)
optim_wrapper['weights']['optimizer'].update(lr=0.1)
optim_wrapper['alpha']['optimizer'].update(lr=3e-2)
param_scheduler = dict(_delete_=True, weights=[dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=8)])
auto_scale_lr = dict(base_batch_size=64)
