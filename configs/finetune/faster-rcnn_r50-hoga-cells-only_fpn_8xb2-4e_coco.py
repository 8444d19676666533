"""HOGA in mmdet's COCO-trained Faster R-CNN (ResNet-50-FPN): only the cells train, 4 epochs.

    tools/dist_train.sh configs/finetune/faster-rcnn_r50-hoga-cells-only_fpn_8xb2-4e_coco.py 8

The detector itself stays as published. After each epoch, adapter_epoch_N.safetensors in the work_dir holds the cells
alone: mmhoga.insertion.load_adapter loads it over the published detector.

Base:  37.4 box AP, says mmdet's metafile.
HOGA:  not measured here.
"""

_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    type='mmhoga.Insert',
    into='FasterRCNN',
    cell=dict(type='mmhoga.HOGA', genotype='autola'),
    after=r'backbone\.layer\d\.\d\.conv2',
    train_only='cells',
    backbone=dict(init_cfg=None),  # load_from has all weights
)
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/'
    'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth'
)

train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
custom_hooks = [dict(type='mmhoga.CellNormHook'), dict(type='mmhoga.AdapterHook')]
