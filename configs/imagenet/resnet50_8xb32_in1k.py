"""ResNet-50 without attention on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/resnet50_8xb32_in1k.py 8

Recipe (supplement): mmpretrain's, unchanged: SGD 0.1 / 0.9 / 1e-4, batch 8 x 32, x0.1 at epochs 30, 60 and 90 of 100.
mmpretrain reports 23.45 % error with it.

Cost:   25.56 M parameters, 4.11 GMACs at 224 x 224 (paper: 25.56 M, 4.11 G).
Paper:  24.56 % top-1 error. Not measured here.
"""

_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'

model = dict(backbone=dict(type='mmhoga.ResNet'))
