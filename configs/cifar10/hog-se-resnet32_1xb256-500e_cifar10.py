"""ResNet-32 with HOG_SE: a HOGA whose ten edges are channel attention, on CIFAR-10 (Table 6).

    mmhoga train configs/cifar10/hog-se-resnet32_1xb256-500e_cifar10.py

Cost:   0.55 M parameters, 0.08 GMACs at 32 x 32 (paper: 0.54 M, 0.09 G).
Paper:  93.62 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet32_1xb256-500e_cifar10.py', '../_base_/attentions/hog_se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
