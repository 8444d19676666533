"""ResNet-32 with Squeeze-and-Excitation on CIFAR-10 (Tables 1 and 6).

    mmhoga train configs/cifar10/se-resnet32_1xb256-500e_cifar10.py

Cost:   0.47 M parameters, 0.07 GMACs at 32 x 32 (paper: 0.49 M, 0.07 G).
Paper:  93.16 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet32_1xb256-500e_cifar10.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
