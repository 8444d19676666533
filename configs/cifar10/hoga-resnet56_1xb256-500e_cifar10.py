"""ResNet-56 with the HOGA of the paper (Fig. 3) on CIFAR-10 (Table 1).

    mmhoga train configs/cifar10/hoga-resnet56_1xb256-500e_cifar10.py

Cost:   1.03 M parameters, 0.15 GMACs at 32 x 32 (paper: 1.04 M, 0.16 G).
Paper:  94.78 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet56_1xb256-500e_cifar10.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
