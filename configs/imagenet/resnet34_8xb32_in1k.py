"""ResNet-34 without attention on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/resnet34_8xb32_in1k.py 8

Recipe: the supplement gives learning rate 0.1, divided by 10 every 30 epochs, and 100 epochs. The rest is mmpretrain's:
SGD with momentum 0.9, weight decay 1e-4, batch 256.

Cost:   21.80 M parameters, 3.67 GMACs at 224 x 224 (paper: 21.80 M, 3.67 G).
Paper:  26.69 % top-1 error. Not measured here.
"""

_base_ = 'mmpretrain::resnet/resnet34_8xb32_in1k.py'

model = dict(backbone=dict(type='mmhoga.ResNet'))
