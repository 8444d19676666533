"""ResNet-18 with Squeeze-and-Excitation on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/se-resnet18_8xb32_in1k.py 8

Cost:   11.78 M parameters, 1.82 GMACs at 224 x 224 (paper: 11.78 M, 1.82 G).
Paper:  29.41 % top-1 error. Not measured here.
"""

_base_ = ['./resnet18_8xb32_in1k.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
