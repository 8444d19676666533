"""ResNet-34 with the HOGA of the paper (Fig. 3) on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/hoga-resnet34_8xb32_in1k.py 8

Cost:   25.63 M parameters, 4.26 GMACs at 224 x 224 (paper: 24.63 M, 4.29 G).
Paper:  24.65 % top-1 error. Not measured here.
"""

_base_ = ['./resnet34_8xb32_in1k.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
