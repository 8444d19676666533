"""ResNet-18 with the HOGA of the paper (Fig. 3) on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/hoga-resnet18_8xb32_in1k.py 8

Cost:   13.81 M parameters, 2.11 GMACs at 224 x 224 (paper: 13.51 M, 2.10 G).
Paper:  27.90 % top-1 error. Not measured here.
"""

_base_ = ['./resnet18_8xb32_in1k.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
