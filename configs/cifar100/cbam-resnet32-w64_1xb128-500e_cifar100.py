"""ResNet-32 of width 64 with CBAM on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/cbam-resnet32-w64_1xb128-500e_cifar100.py

Cost:   7.51 M parameters, 1.10 GMACs at 32 x 32 (paper: 7.01 M, 1.10 G).
Paper:  78.01 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet32-w64_1xb128-500e_cifar100.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
