"""ResNet-101 with the HOGA of the paper (Fig. 3) on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/hoga-resnet101_8xb32_in1k.py 8

Cost:   51.81 M parameters, 9.03 GMACs at 224 x 224 (paper: 51.81 M, 8.94 G).
Paper:  20.95 % top-1 error. Not measured here.
"""

_base_ = ['./resnet101_8xb32_in1k.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
