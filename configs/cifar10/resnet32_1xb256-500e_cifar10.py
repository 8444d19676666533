"""ResNet-32 without attention on CIFAR-10 (Table 1).

    mmhoga train configs/cifar10/resnet32_1xb256-500e_cifar10.py

Cost:   0.47 M parameters, 0.07 GMACs at 32 x 32 (paper: 0.46 M, 0.07 G).
Paper:  92.55 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet20_1xb256-500e_cifar10.py'

model = dict(backbone=dict(depth=32))
