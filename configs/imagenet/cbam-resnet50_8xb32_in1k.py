"""ResNet-50 with CBAM on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/cbam-resnet50_8xb32_in1k.py 8

Cost:   28.07 M parameters, 4.12 GMACs at 224 x 224 (paper: 28.09 M, 4.12 G).
Paper:  22.66 % top-1 error. Not measured here.
"""

_base_ = ['./resnet50_8xb32_in1k.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')]))
