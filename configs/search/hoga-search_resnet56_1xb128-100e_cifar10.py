"""The paper's search (section 4.2) with K = 4 in ResNet-56.

    mmhoga train configs/search/hoga-search_resnet56_1xb128-100e_cifar10.py

configs/cifar10/hoga-from56-resnet20_1xb256-500e_cifar10.py (Table 6) trains with its genotype.

Cost:   1.23 M parameters, 0.20 GMACs at 32 x 32.
Paper:  no number. Not measured here.
"""

_base_ = './hoga-search_resnet20_1xb128-100e_cifar10.py'

model = dict(architecture=dict(backbone=dict(depth=56)))
