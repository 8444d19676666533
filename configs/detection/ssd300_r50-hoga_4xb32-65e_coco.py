"""SSD300 (ResNet-50) with HOGA on COCO (Table 7).

    tools/dist_train.sh configs/detection/ssd300_r50-hoga_4xb32-65e_coco.py 4

Train configs/imagenet/hoga-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   24.35 M parameters, 22.28 GMACs at 300 x 300.
Paper:  27.78 box AP. Not measured here.
"""

_base_ = ['./ssd300_r50_4xb32-65e_coco.py', '../_base_/attentions/hoga.py']

model = dict(
    backbone=dict(
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')],
        init_cfg=dict(checkpoint='work_dirs/hoga-resnet50_8xb32_in1k/epoch_100.pth'),
    )
)
