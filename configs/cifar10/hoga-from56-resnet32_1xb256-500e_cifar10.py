"""ResNet-32 with a HOGA that was searched on ResNet-56, on CIFAR-10 (Table 6).

    mmhoga train configs/cifar10/hoga-from56-resnet32_1xb256-500e_cifar10.py

The paper's genotype is not published. Search one first, from the same folder:

    mmhoga train configs/search/hoga-search_resnet56_1xb128-100e_cifar10.py

Cost:   depends on the genotype (paper: 0.57 M, 0.09 G).
Paper:  94.18 % top-1 accuracy. Not measured here.
"""

_base_ = './resnet32_1xb256-500e_cifar10.py'

attention = dict(type='mmhoga.HOGA', genotype='work_dirs/hoga-search_resnet56_1xb128-100e_cifar10/genotype.json')
model = dict(backbone=dict(plugins=[dict(cfg=attention, position='after_conv2')]))
