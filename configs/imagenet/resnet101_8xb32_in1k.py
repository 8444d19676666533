"""ResNet-101 without attention on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/resnet101_8xb32_in1k.py 8

Recipe: the supplement gives learning rate 0.1, divided by 10 every 30 epochs, and 100 epochs. The rest is mmpretrain's:
SGD with momentum 0.9, weight decay 1e-4, batch 256.

Cost:   44.55 M parameters, 7.83 GMACs at 224 x 224 (paper: 44.55 M, 7.57 G).
Paper:  23.38 % top-1 error. Not measured here.
"""

_base_ = 'mmpretrain::resnet/resnet101_8xb32_in1k.py'

model = dict(backbone=dict(type='mmhoga.ResNet'))
