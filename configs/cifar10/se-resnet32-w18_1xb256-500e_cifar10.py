"""ResNet-32 of width 18 with Squeeze-and-Excitation on CIFAR-10 (Table 6).

    mmhoga train configs/cifar10/se-resnet32-w18_1xb256-500e_cifar10.py

Cost:   0.60 M parameters, 0.09 GMACs at 32 x 32 (paper: 0.62 M, 0.09 G).
Paper:  94.08 % top-1 accuracy. Not measured here.
"""

_base_ = './se-resnet32_1xb256-500e_cifar10.py'

model = dict(backbone=dict(base_channels=18), head=dict(in_channels=72))
