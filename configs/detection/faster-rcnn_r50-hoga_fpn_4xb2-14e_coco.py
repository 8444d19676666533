"""Faster R-CNN (ResNet-50-FPN) with HOGA on COCO (Table 7).

    tools/dist_train.sh configs/detection/faster-rcnn_r50-hoga_fpn_4xb2-14e_coco.py 4

Train configs/imagenet/hoga-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   45.59 M parameters, 228.10 GMACs at 800 x 1333.
Paper:  37.21 box AP. Not measured here.
"""

_base_ = ['./faster-rcnn_r50_fpn_4xb2-14e_coco.py', '../_base_/attentions/hoga.py']

model = dict(
    backbone=dict(
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')],
        init_cfg=dict(checkpoint='work_dirs/hoga-resnet50_8xb32_in1k/epoch_100.pth'),
    )
)
