"""Faster R-CNN with FPN on COCO (Table 7): the baseline.

    tools/dist_train.sh configs/detection/faster-rcnn_r50_fpn_4xb2-14e_coco.py 4

Starts from the classifier of configs/imagenet/resnet50_8xb32_in1k.py: train that first, or change init_cfg.
Recipe (supplement): mmdet's 1x with SGD 0.01 / 0.9 / 1e-4, x0.1 at epochs 8 and 11 of 14, batch 2 (taken as 2 on each
of 4 GPUs: mmdet's 0.02 is for 8), linear warm-up over 500 iterations.

Cost:   41.75 M parameters, 215.55 GMACs at 800 x 1333.
Paper:  36.03 box AP. Not measured here.
"""

_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/rcnn_14e.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='mmhoga.ResNet',
        init_cfg=dict(
            checkpoint='work_dirs/resnet50_8xb32_in1k/epoch_100.pth',
            prefix='backbone.',
        ),
    )
)
