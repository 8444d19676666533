"""ResNet-32 of width 64 without attention on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/resnet32-w64_1xb128-500e_cifar100.py

Cost:   7.45 M parameters, 1.10 GMACs at 32 x 32 (paper: 6.85 M, 1.10 G).
Paper:  75.72 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet20-w64_1xb128-500e_cifar100.py'

model = dict(backbone=dict(depth=32))
