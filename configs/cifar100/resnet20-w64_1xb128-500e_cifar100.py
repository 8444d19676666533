"""ResNet-20 of width 64 without attention on CIFAR-100 (Table 2).

    mmhoga train configs/cifar100/resnet20-w64_1xb128-500e_cifar100.py

Recipe (supplement): as for CIFAR-10, with four times the width and batch 128.

Cost:   4.35 M parameters, 0.65 GMACs at 32 x 32 (paper: 4.07 M, 0.65 G).
Paper:  75.42 % top-1 accuracy. Not measured here.
"""

_base_ = [
    '../_base_/models/resnet20_cifar10.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_500e.py',
    '../_base_/cifar_runtime.py',
]

model = dict(backbone=dict(base_channels=64), head=dict(num_classes=100, in_channels=256))
auto_scale_lr = dict(base_batch_size=128)
