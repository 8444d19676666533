"""ResNet-50 without attention on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/resnet50_8xb32_in1k.py 8

Recipe: the supplement gives learning rate 0.1, divided by 10 every 30 epochs, and 100 epochs. The rest is mmpretrain's:
SGD with momentum 0.9, weight decay 1e-4, batch 256. mmpretrain reports 23.45 % top-1 error for it.

Cost:   25.56 M parameters, 4.11 GMACs at 224 x 224 (paper: 25.56 M, 4.11 G).
Paper:  24.56 % top-1 error. Not measured here.
"""

_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'

model = dict(backbone=dict(type='mmhoga.ResNet'))
