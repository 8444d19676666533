"""ResNet-32 of width 18 with CBAM on CIFAR-10 (Table 6).

    mmhoga train configs/cifar10/cbam-resnet32-w18_1xb256-500e_cifar10.py

Cost:   0.60 M parameters, 0.09 GMACs at 32 x 32 (paper: 0.63 M, 0.09 G).
Paper:  93.92 % top-1 accuracy. Not measured here.
"""

_base_ = './cbam-resnet32_1xb256-500e_cifar10.py'

model = dict(backbone=dict(base_channels=18), head=dict(in_channels=72))
