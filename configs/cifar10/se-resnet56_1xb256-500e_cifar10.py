"""ResNet-56 with Squeeze-and-Excitation on CIFAR-10 (Table 1).

    mmhoga train configs/cifar10/se-resnet56_1xb256-500e_cifar10.py

Cost:   0.86 M parameters, 0.13 GMACs at 32 x 32 (paper: 0.90 M, 0.13 G).
Paper:  94.02 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet56_1xb256-500e_cifar10.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
