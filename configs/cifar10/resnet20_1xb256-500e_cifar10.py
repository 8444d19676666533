"""ResNet-20 without attention on CIFAR-10 (Table 1).

    mmhoga train configs/cifar10/resnet20_1xb256-500e_cifar10.py

Recipe (supplement): SGD with learning rate 0.1, momentum 0.9, weight decay 5e-4; batch 256; 500 epochs. The supplement
does not give the decay of the learning rate; cosine is that of the authors' code.

Cost:   0.27 M parameters, 0.04 GMACs at 32 x 32 (paper: 0.27 M, 0.04 G).
Paper:  91.95 % top-1 accuracy. Not measured here.
"""

_base_ = [
    '../_base_/models/resnet20_cifar10.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_500e.py',
    '../_base_/cifar_runtime.py',
]
