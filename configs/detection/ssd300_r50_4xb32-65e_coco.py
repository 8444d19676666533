"""SSD300 (ResNet-50) without attention on COCO (Table 7).

    tools/dist_train.sh configs/detection/ssd300_r50_4xb32-65e_coco.py 4

Train configs/imagenet/resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).
Recipe (supplement): SGD with learning rate 0.01, momentum 0.9, weight decay 5e-4 except on batch norms and biases;
batch 128; linear warm-up over the first epoch; learning rate x0.1 at epochs 43 and 54 of 65. ResNet-50 is modified as
in NVIDIA's reference SSD.

Cost:   22.89 M parameters, 20.21 GMACs at 300 x 300.
Paper:  25.01 box AP. Not measured here.
"""

_base_ = [
    '../_base_/models/ssd300_r50.py',
    '../_base_/datasets/coco_ssd300.py',
    '../_base_/schedules/ssd_65e.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/resnet50_8xb32_in1k/epoch_100.pth',
            prefix='backbone.',
        )
    )
)
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
]
