"""HOGA in mmdet's COCO-trained Faster R-CNN (ResNet-50-FPN): fine-tuning of the whole detector, 4 epochs.

    tools/dist_train.sh configs/finetune/faster-rcnn_r50-hoga_fpn_8xb2-4e_coco.py 8

The first run downloads the published checkpoint (load_from). The detector starts with its accuracy.

Base:  37.4 box AP, says mmdet's metafile.
HOGA:  not measured here.
"""

_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='ResNet',
        cell=dict(type='mmhoga.HOGA', genotype='autola'),
        after=r'layer\d\.\d\.conv2',
        init_cfg=None,  # load_from has all weights
    )
)
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/'
    'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth'
)

# The pretrained weights train at a tenth of the rate of their own training, and the new cells at the full rate.
optim_wrapper = dict(optimizer=dict(lr=0.002), paramwise_cfg=dict(custom_keys={'.hoga.': dict(lr_mult=10)}))
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
custom_hooks = [dict(type='mmhoga.CellNormHook')]
