"""PNAS network, six cells per stage, width 40, without attention on CIFAR-10 (Table 3).

    mmhoga train configs/cifar10/pnas-w40_1xb256-500e_cifar10.py

The paper gives neither the cell nor the size. Width 42 would give its 0.72 M, but 42 is not divisible into four groups.

Cost:   0.66 M parameters, 0.11 GMACs at 32 x 32 (paper: 0.72 M, 0.08 G).
Paper:  93.34 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet20_1xb256-500e_cifar10.py'

model = dict(
    backbone=dict(_delete_=True, type='mmhoga.CIFARPNASNet', base_channels=40, num_cells=6),
    head=dict(in_channels=160),
)
