"""ResNet-101 with CBAM on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/cbam-resnet101_8xb32_in1k.py 8

Cost:   49.30 M parameters, 7.85 GMACs at 224 x 224 (paper: 49.33 M, 7.58 G).
Paper:  21.51 % top-1 error. Not measured here.
"""

_base_ = ['./resnet101_8xb32_in1k.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')]))
