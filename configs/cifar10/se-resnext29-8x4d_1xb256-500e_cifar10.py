"""ResNeXt-29 (8x4d) with Squeeze-and-Excitation on CIFAR-10 (Table 3).

    mmhoga train configs/cifar10/se-resnext29-8x4d_1xb256-500e_cifar10.py

Cost:   2.24 M parameters, 0.26 GMACs at 32 x 32 (paper: 2.23 M, 0.30 G).
Paper:  95.22 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnext29-8x4d_1xb256-500e_cifar10.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')]))
