"""PNAS network, six cells per stage, width 40, with the HOGA of the paper (Fig. 3) on CIFAR-10 (Table 3).

    mmhoga train configs/cifar10/hoga-pnas-w40_1xb256-500e_cifar10.py

Cost:   1.41 M parameters, 0.21 GMACs at 32 x 32 (paper: 0.91 M, 0.11 G).
Paper:  94.10 % top-1 accuracy. Not measured here.
"""

_base_ = ['./pnas-w40_1xb256-500e_cifar10.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_cell')]))
