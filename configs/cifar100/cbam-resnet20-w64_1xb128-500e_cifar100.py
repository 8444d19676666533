"""ResNet-20 of width 64 with CBAM on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/cbam-resnet20-w64_1xb128-500e_cifar100.py

Cost:   4.38 M parameters, 0.65 GMACs at 32 x 32 (paper: 4.14 M, 0.67 G).
Paper:  76.93 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet20-w64_1xb128-500e_cifar100.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
