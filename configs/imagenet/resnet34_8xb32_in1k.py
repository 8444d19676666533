"""ResNet-34 without attention on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/resnet34_8xb32_in1k.py 8

Recipe (supplement): mmpretrain's, unchanged: SGD 0.1 / 0.9 / 1e-4, batch 8 x 32, x0.1 at epochs 30, 60 and 90 of 100.

Cost:   21.80 M parameters, 3.67 GMACs at 224 x 224 (paper: 21.80 M, 3.67 G).
Paper:  26.69 % top-1 error. Not measured here.
"""

_base_ = 'mmpretrain::resnet/resnet34_8xb32_in1k.py'

model = dict(backbone=dict(type='mmhoga.ResNet'))
