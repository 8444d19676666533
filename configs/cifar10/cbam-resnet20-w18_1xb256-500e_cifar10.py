"""ResNet-20 of width 18 with CBAM on CIFAR-10 (Table 6).

    mmhoga train configs/cifar10/cbam-resnet20-w18_1xb256-500e_cifar10.py

Cost:   0.35 M parameters, 0.05 GMACs at 32 x 32 (paper: 0.37 M, 0.05 G).
Paper:  93.13 % top-1 accuracy. Not measured here.
"""

_base_ = './cbam-resnet20_1xb256-500e_cifar10.py'

model = dict(backbone=dict(base_channels=18), head=dict(in_channels=72))
