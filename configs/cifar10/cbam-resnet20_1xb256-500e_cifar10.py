"""ResNet-20 with CBAM on CIFAR-10 (Tables 1 and 6).

    mmhoga train configs/cifar10/cbam-resnet20_1xb256-500e_cifar10.py

Cost:   0.28 M parameters, 0.04 GMACs at 32 x 32 (paper: 0.30 M, 0.04 G).
Paper:  92.81 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet20_1xb256-500e_cifar10.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
