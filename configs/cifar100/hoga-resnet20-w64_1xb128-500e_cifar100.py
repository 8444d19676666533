"""ResNet-20 of width 64 with the HOGA of the paper (Fig. 3) on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/hoga-resnet20-w64_1xb128-500e_cifar100.py

Cost:   5.15 M parameters, 0.76 GMACs at 32 x 32 (paper: 5.23 M, 0.71 G).
Paper:  77.85 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet20-w64_1xb128-500e_cifar100.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
