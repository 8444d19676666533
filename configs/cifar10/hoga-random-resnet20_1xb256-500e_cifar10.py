"""ResNet-20 with a random HOGA on CIFAR-10 (Table 6).

    mmhoga train configs/cifar10/hoga-random-resnet20_1xb256-500e_cifar10.py

Cost:   0.32 M parameters, 0.05 GMACs at 32 x 32 (paper: 0.35 M, 0.05 G).
Paper:  93.28 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet20_1xb256-500e_cifar10.py', '../_base_/attentions/hoga_random.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
