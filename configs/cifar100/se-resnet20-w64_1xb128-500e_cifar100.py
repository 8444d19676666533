"""ResNet-20 of width 64 with Squeeze-and-Excitation on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/se-resnet20-w64_1xb128-500e_cifar100.py

Cost:   4.38 M parameters, 0.65 GMACs at 32 x 32 (paper: 4.13 M, 0.65 G).
Paper:  76.84 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet20-w64_1xb128-500e_cifar100.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
