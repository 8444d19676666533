"""Faster R-CNN (ResNet-50-FPN) with Squeeze-and-Excitation on COCO (Table 7).

    tools/dist_train.sh configs/detection/faster-rcnn_r50-se_fpn_4xb2-14e_coco.py 4

Train configs/imagenet/se-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   44.28 M parameters, 215.55 GMACs at 800 x 1333.
Paper:  36.47 box AP. Not measured here.
"""

_base_ = ['./faster-rcnn_r50_fpn_4xb2-14e_coco.py', '../_base_/attentions/se.py']

model = dict(
    backbone=dict(
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')],
        init_cfg=dict(checkpoint='work_dirs/se-resnet50_8xb32_in1k/epoch_100.pth'),
    )
)
