"""HOGA in mmpose's COCO-trained RTMPose-tiny, after each stage: fine-tuning of the whole model, 20 epochs.

    tools/dist_train.sh configs/finetune/rtmpose-t-hoga_4xb256-20e_coco-256x192.py 4

The first run downloads the published checkpoint (load_from). The model starts with its accuracy. The data are augmented
as in the last 30 epochs of RTMPose's training, without Albumentation, which needs one more package.

Base:  68.2 AP, says mmpose's metafile.
HOGA:  not measured here.
"""

_base_ = 'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py'
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
    'https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/'
    'rtmpose-tiny_simcc-coco_pt-aic-coco_420e-256x192-e613ba3f_20230127.pth'
)

train_pipeline = [step for step in _base_.train_pipeline_stage2 if step['type'] != 'Albumentation']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# The pretrained weights train at a tenth of the rate of their own training, and the new cells at the full rate.
optim_wrapper = dict(optimizer=dict(lr=4e-4), paramwise_cfg=dict(custom_keys={'.hoga.': dict(lr_mult=10)}))
train_cfg = dict(max_epochs=20, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=1.0e-5, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', eta_min=2e-5, begin=0, end=20, T_max=20, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = [dict(type='mmhoga.CellNormHook')]
