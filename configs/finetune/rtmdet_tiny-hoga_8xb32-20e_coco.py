"""HOGA in mmdet's COCO-trained RTMDet-tiny: fine-tuning of the whole detector, 20 epochs.

    tools/dist_train.sh configs/finetune/rtmdet_tiny-hoga_8xb32-20e_coco.py 8

The first run downloads the published checkpoint (load_from). The detector starts with its accuracy. The data are
augmented as in the last 20 epochs of RTMDet's training, without mosaic and mix-up.

Base:  40.9 box AP, says mmdet's metafile.
HOGA:  not measured here.
"""

_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='CSPNeXt',
        cell=dict(type='mmhoga.HOGA', genotype='autola'),
        after=r'stage\d',
        init_cfg=None,  # load_from has all weights
    )
)
load_from = (
    'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_tiny_8xb32-300e_coco/'
    'rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth'
)

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline_stage2))
# The pretrained weights train at a tenth of the rate of their own training, and the new cells at the full rate.
optim_wrapper = dict(
    optimizer=dict(lr=0.0004), paramwise_cfg=dict(custom_keys={'.hoga.': dict(lr_mult=10, decay_mult=0)})
)
auto_scale_lr = dict(base_batch_size=256)
train_cfg = dict(max_epochs=20, val_interval=5, dynamic_intervals=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=1.0e-5, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', eta_min=2e-5, begin=0, end=20, T_max=20, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49),
    dict(type='mmhoga.CellNormHook'),
]
