"""Faster R-CNN (ResNet-50-FPN) with CBAM on COCO (Table 7).

    tools/dist_train.sh configs/detection/faster-rcnn_r50-cbam_fpn_4xb2-14e_coco.py 4

Train configs/imagenet/cbam-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   44.27 M parameters, 215.58 GMACs at 800 x 1333.
Paper:  36.55 box AP. Not measured here.
"""

_base_ = ['./faster-rcnn_r50_fpn_4xb2-14e_coco.py', '../_base_/attentions/cbam.py']

model = dict(
    backbone=dict(
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')],
        init_cfg=dict(checkpoint='work_dirs/cbam-resnet50_8xb32_in1k/epoch_100.pth'),
    )
)
