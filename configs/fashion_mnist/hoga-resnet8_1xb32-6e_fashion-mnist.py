"""ResNet-8 with HOGA, the paper's genotype (Fig. 3), on reduced Fashion-MNIST: 35 seconds on one CPU core.

    mmhoga train configs/fashion_mnist/hoga-resnet8_1xb32-6e_fashion-mnist.py

A search in this network, and the training of what it finds:

    mmhoga search hoga-resnet8_1xb32-6e_fashion-mnist --epochs 10 --lr 0.05 --alpha-lr 0.03 --then train

Cost:   97.0 k parameters, 3.22 MMACs at 14 x 14.
Result: 82.94 ± 0.63 % test accuracy, mean of 5 seeds (docs/genotype_study.md).
Paper:  no number.
"""

_base_ = './resnet8_1xb32-6e_fashion-mnist.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
