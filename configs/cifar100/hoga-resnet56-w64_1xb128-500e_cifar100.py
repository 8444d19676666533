"""ResNet-56 of width 64 with the HOGA of the paper (Fig. 3) on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/hoga-resnet56-w64_1xb128-500e_cifar100.py

Cost:   16.06 M parameters, 2.34 GMACs at 32 x 32 (paper: 14.48 M, 2.37 G).
Paper:  79.59 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet56-w64_1xb128-500e_cifar100.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
