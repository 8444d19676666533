"""ResNeXt-29 (8x4d) without attention on CIFAR-10 (Table 3).

    mmhoga train configs/cifar10/resnext29-8x4d_1xb256-500e_cifar10.py

The paper gives neither depth nor cardinality. Both are inferred from its numbers of parameters.

Cost:   1.72 M parameters, 0.26 GMACs at 32 x 32 (paper: 1.71 M, 0.28 G).
Paper:  94.76 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet20_1xb256-500e_cifar10.py'

model = dict(
    backbone=dict(_delete_=True, type='mmhoga.CIFARResNeXt', depth=29, base_channels=64, groups=8, width_per_group=4),
    head=dict(in_channels=1024),
)
