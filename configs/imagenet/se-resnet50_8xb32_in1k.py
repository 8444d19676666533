"""ResNet-50 with Squeeze-and-Excitation on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/se-resnet50_8xb32_in1k.py 8

Cost:   28.09 M parameters, 4.11 GMACs at 224 x 224 (paper: 28.09 M, 4.12 G).
Paper:  23.14 % top-1 error. Not measured here.
"""

_base_ = ['./resnet50_8xb32_in1k.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')]))
