"""ResNeXt-29 (8x4d) with the HOGA of the paper (Fig. 3) on CIFAR-10 (Table 3).

    mmhoga train configs/cifar10/hoga-resnext29-8x4d_1xb256-500e_cifar10.py

Cost:   1.93 M parameters, 0.29 GMACs at 32 x 32 (paper: 2.35 M, 0.41 G).
Paper:  95.67 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnext29-8x4d_1xb256-500e_cifar10.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
