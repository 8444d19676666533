"""HOGA in mmpretrain's ImageNet-trained ConvNeXt-tiny, after each stage: fine-tuning of the whole network, 10 epochs.

    tools/dist_train.sh configs/finetune/hoga-convnext-tiny_8xb128-10e_in1k.py 8

The first run downloads the published checkpoint (load_from). The network starts with its accuracy.

Base:  82.14 top-1, says mmpretrain's metafile.
HOGA:  not measured here.
"""

_base_ = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'

model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='ConvNeXt',
        cell=dict(type='mmhoga.HOGA', genotype='autola'),
        after=r'stages\.\d',
    )
)
load_from = (
    'https://download.openmmlab.com/mmclassification/v0/convnext/convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth'
)

# For a batch of 1024: the base has 4e-3 for 4096, which is 1e-3.
# The pretrained weights train at a tenth of the rate of their own training, and the new cells at the full rate.
optim_wrapper = dict(
    optimizer=dict(lr=1e-4), paramwise_cfg=dict(custom_keys={'.hoga.': dict(lr_mult=10, decay_mult=0)})
)
auto_scale_lr = dict(base_batch_size=1024)
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=10, convert_to_iter_based=True),
]
custom_hooks = [*_base_.custom_hooks, dict(type='mmhoga.CellNormHook')]
