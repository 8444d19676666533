"""The paper's search (section 4.2) with K = 8 in ResNet-20.

    mmhoga train configs/search/hoga-search-k8_resnet20_1xb128-100e_cifar10.py

The paper omits K = 8: "the parameters and FLOSP would increase a lot" (sic).

Cost:   0.45 M parameters, 0.09 GMACs at 32 x 32.
Paper:  no number. Not measured here.
"""

_base_ = './hoga-search_resnet20_1xb128-100e_cifar10.py'

model = dict(num_groups=8)
