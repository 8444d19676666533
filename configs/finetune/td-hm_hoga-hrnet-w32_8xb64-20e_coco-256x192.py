"""HOGA in mmpose's COCO-trained HRNet-w32, after each branch of stage 4: fine-tuning of the whole model, 20 epochs.

    tools/dist_train.sh configs/finetune/td-hm_hoga-hrnet-w32_8xb64-20e_coco-256x192.py 8

The first run downloads the published checkpoint (load_from). The model starts with its accuracy.

Base:  74.6 AP, says mmpose's metafile.
HOGA:  not measured here.
"""

_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='HRNet',
        cell=dict(type='mmhoga.HOGA', genotype='autola'),
        after=r'stage4\.\d\.branches\.\d',
        init_cfg=None,  # load_from has all weights
    )
)
load_from = (
    'https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth'
)

# The pretrained weights train at a tenth of the rate of their own training, and the new cells at the full rate.
optim_wrapper = dict(optimizer=dict(lr=5e-5), paramwise_cfg=dict(custom_keys={'.hoga.': dict(lr_mult=10)}))
train_cfg = dict(max_epochs=20, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=20, milestones=[14, 18], gamma=0.1, by_epoch=True),
]
custom_hooks = [*_base_.custom_hooks, dict(type='mmhoga.CellNormHook')]
