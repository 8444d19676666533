"""ResNet-32 with the HOGA of the paper (Fig. 3) on CIFAR-10 (Tables 1 and 6).

    mmhoga train configs/cifar10/hoga-resnet32_1xb256-500e_cifar10.py

Cost:   0.56 M parameters, 0.08 GMACs at 32 x 32 (paper: 0.51 M, 0.09 G).
Paper:  94.33 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet32_1xb256-500e_cifar10.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
