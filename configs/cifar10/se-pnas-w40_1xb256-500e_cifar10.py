"""PNAS network, six cells per stage, width 40, with Squeeze-and-Excitation on CIFAR-10 (Table 3).

    mmhoga train configs/cifar10/se-pnas-w40_1xb256-500e_cifar10.py

Cost:   0.69 M parameters, 0.11 GMACs at 32 x 32 (paper: 0.75 M, 0.08 G).
Paper:  93.71 % top-1 accuracy. Not measured here.
"""

_base_ = ['./pnas-w40_1xb256-500e_cifar10.py', '../_base_/attentions/se.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_cell')]))
