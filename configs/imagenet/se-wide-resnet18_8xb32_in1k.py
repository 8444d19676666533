"""Wide ResNet-18 (width 1.5) with Squeeze-and-Excitation on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/se-wide-resnet18_8xb32_in1k.py 8

Cost:   26.07 M parameters, 3.87 GMACs at 224 x 224 (paper: 26.07 M, 3.87 G).
Paper:  26.21 % top-1 error. Not measured here.
"""

_base_ = ['./wide-resnet18_8xb32_in1k.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
