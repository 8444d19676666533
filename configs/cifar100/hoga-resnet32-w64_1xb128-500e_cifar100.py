"""ResNet-32 of width 64 with the HOGA of the paper (Fig. 3) on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/hoga-resnet32-w64_1xb128-500e_cifar100.py

Cost:   8.79 M parameters, 1.29 GMACs at 32 x 32 (paper: 8.91 M, 1.30 G).
Paper:  78.57 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet32-w64_1xb128-500e_cifar100.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
