"""ResNet-18 without attention on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/resnet18_8xb32_in1k.py 8

Recipe: the supplement gives learning rate 0.1, divided by 10 every 30 epochs, and 100 epochs. The rest is mmpretrain's:
SGD with momentum 0.9, weight decay 1e-4, batch 256.

Cost:   11.69 M parameters, 1.82 GMACs at 224 x 224 (paper: 11.69 M, 1.81 G).
Paper:  29.60 % top-1 error. Not measured here.
"""

_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'

model = dict(backbone=dict(type='mmhoga.ResNet'))
