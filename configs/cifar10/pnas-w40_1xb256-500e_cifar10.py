"""Six PNAS cells a stage, width 40, without attention on CIFAR-10 (Table 3).

    python tools/train.py configs/cifar10/pnas-w40_1xb256-500e_cifar10.py

The paper names neither cell nor size. Width 42 would have its 0.72 M, but four groups do not divide it.

Cost:   0.66 M parameters, 0.11 GMACs at 32 x 32 (paper: 0.72 M, 0.08 G).
Paper:  93.34 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet20_1xb256-500e_cifar10.py'

model = dict(
    backbone=dict(_delete_=True, type='mmhoga.CIFARPNASNet', base_channels=40, num_cells=6),
    head=dict(in_channels=160),
)
