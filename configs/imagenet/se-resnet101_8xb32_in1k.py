"""ResNet-101 with Squeeze-and-Excitation on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/se-resnet101_8xb32_in1k.py 8

Cost:   49.33 M parameters, 7.84 GMACs at 224 x 224 (paper: 49.33 M, 7.58 G).
Paper:  22.35 % top-1 error. Not measured here.
"""

_base_ = ['./resnet101_8xb32_in1k.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')]))
