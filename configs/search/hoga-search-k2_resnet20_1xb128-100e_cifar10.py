"""The paper's search (section 4.2) with K = 2 in ResNet-20.

    mmhoga train configs/search/hoga-search-k2_resnet20_1xb128-100e_cifar10.py

configs/cifar10/hoga-k2-resnet20_1xb256-500e_cifar10.py (Table 6) trains with its genotype.

Cost:   0.39 M parameters, 0.06 GMACs at 32 x 32.
Paper:  no number. Not measured here.
"""

_base_ = './hoga-search_resnet20_1xb128-100e_cifar10.py'

model = dict(num_groups=2)
