"""ResNet-101 with the paper's searched attention (Fig. 3) on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/hoga-resnet101_8xb32_in1k.py 8

Cost:   51.81 M parameters, 9.03 GMACs at 224 x 224 (paper: 51.81 M, 8.94 G).
Paper:  20.95 % top-1 error (plain ResNet-101: 23.38 %). Not measured here.
"""

_base_ = './hoga-resnet50_8xb32_in1k.py'

model = dict(backbone=dict(depth=101))
