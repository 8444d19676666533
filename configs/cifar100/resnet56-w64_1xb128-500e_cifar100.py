"""ResNet-56 of width 64 without attention on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/resnet56-w64_1xb128-500e_cifar100.py

Cost:   13.65 M parameters, 2.01 GMACs at 32 x 32 (paper: 12.41 M, 2.01 G).
Paper:  77.56 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet20-w64_1xb128-500e_cifar100.py'

model = dict(backbone=dict(depth=56))
