"""ResNet-56 of width 64 with CBAM on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/cbam-resnet56-w64_1xb128-500e_cifar100.py

Cost:   13.75 M parameters, 2.01 GMACs at 32 x 32 (paper: 13.85 M, 2.02 G).
Paper:  79.07 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet56-w64_1xb128-500e_cifar100.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
