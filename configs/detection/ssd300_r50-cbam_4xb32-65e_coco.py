"""SSD300 (ResNet-50) with CBAM on COCO (Table 7).

    tools/dist_train.sh configs/detection/ssd300_r50-cbam_4xb32-65e_coco.py 4

Train configs/imagenet/cbam-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   23.84 M parameters, 20.22 GMACs at 300 x 300.
Paper:  26.63 box AP. Not measured here.
"""

_base_ = ['./ssd300_r50_4xb32-65e_coco.py', '../_base_/attentions/cbam.py']

model = dict(
    backbone=dict(
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')],
        init_cfg=dict(checkpoint='work_dirs/cbam-resnet50_8xb32_in1k/epoch_100.pth'),
    )
)
