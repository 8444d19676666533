"""Wide ResNet-18 (width 1.5) with the HOGA of the paper (Fig. 3) on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/hoga-wide-resnet18_8xb32_in1k.py 8

Cost:   30.61 M parameters, 4.52 GMACs at 224 x 224 (paper: 29.76 M, 4.55 G).
Paper:  25.02 % top-1 error. Not measured here.
"""

_base_ = ['./wide-resnet18_8xb32_in1k.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
