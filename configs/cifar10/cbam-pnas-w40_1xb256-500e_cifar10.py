"""PNAS network, six cells per stage, width 40, with CBAM on CIFAR-10 (Table 3).

    mmhoga train configs/cifar10/cbam-pnas-w40_1xb256-500e_cifar10.py

Cost:   0.69 M parameters, 0.11 GMACs at 32 x 32 (paper: 0.76 M, 0.08 G).
Paper:  93.79 % top-1 accuracy. Not measured here.
"""

_base_ = ['./pnas-w40_1xb256-500e_cifar10.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_cell')]))
