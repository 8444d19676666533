"""ResNet-56 without attention on CIFAR-10 (Table 1).

    mmhoga train configs/cifar10/resnet56_1xb256-500e_cifar10.py

Cost:   0.86 M parameters, 0.13 GMACs at 32 x 32 (paper: 0.85 M, 0.13 G).
Paper:  93.03 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet20_1xb256-500e_cifar10.py'

model = dict(backbone=dict(depth=56))
