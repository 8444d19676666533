"""HOGA in mmpretrain's ImageNet-trained ResNet-50: fine-tuning of the whole network, 10 epochs.

    tools/dist_train.sh configs/finetune/hoga-resnet50_8xb32-10e_in1k.py 8

The first run downloads the published checkpoint (load_from). The network starts with its accuracy.

Base:  76.55 top-1, says mmpretrain's metafile.
HOGA:  not measured here.
"""

_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'

model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='ResNet',
        cell=dict(type='mmhoga.HOGA', genotype='autola'),
        after=r'layer\d\.\d\.conv2',
    )
)
load_from = 'https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth'

# The pretrained weights train at a tenth of the rate of their own training, and the new cells at the full rate.
optim_wrapper = dict(optimizer=dict(lr=0.01), paramwise_cfg=dict(custom_keys={'.hoga.': dict(lr_mult=10)}))
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', T_max=10, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = [dict(type='mmhoga.CellNormHook')]
