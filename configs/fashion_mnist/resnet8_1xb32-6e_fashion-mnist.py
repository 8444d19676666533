"""ResNet-8 without attention on reduced Fashion-MNIST: 15 seconds on one CPU core.

    mmhoga train configs/fashion_mnist/resnet8_1xb32-6e_fashion-mnist.py

README.md in this folder says where to get the data.

Cost:   77.8 k parameters, 2.59 MMACs at 14 x 14.
Result: 78.16 ± 1.10 % test accuracy, mean of 5 seeds (docs/genotype_study.md).
Paper:  no number.
"""

_base_ = [
    '../_base_/models/resnet8_digits.py',
    '../_base_/datasets/fashion_mnist.py',
    '../_base_/schedules/fashion_mnist_6e.py',
    '../_base_/digits_runtime.py',
]
