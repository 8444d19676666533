"""Faster R-CNN (ResNet-50-FPN) without attention on COCO (Table 7).

    tools/dist_train.sh configs/detection/faster-rcnn_r50_fpn_4xb2-14e_coco.py 4

Train configs/imagenet/resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).
Recipe (supplement): SGD with learning rate 0.01, momentum 0.9, weight decay 1e-4; batch 2; linear warm-up over 500
iterations; learning rate x0.1 at epochs 8 and 11 of 14. We read the batch as 2 per GPU on 4 GPUs, because mmdet's
learning rate of 0.02 is for 8 GPUs. All else is mmdet's 1x schedule.

Cost:   41.75 M parameters, 215.55 GMACs at 800 x 1333.
Paper:  36.03 box AP. Not measured here.
"""

_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/rcnn_14e.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        type='mmhoga.ResNet',
        init_cfg=dict(
            checkpoint='work_dirs/resnet50_8xb32_in1k/epoch_100.pth',
            prefix='backbone.',
        ),
    )
)
