"""The paper's search (section 4.2) with K = 8 in ResNet-56.

    mmhoga train configs/search/hoga-search-k8_resnet56_1xb128-100e_cifar10.py

Cost:   1.38 M parameters, 0.26 GMACs at 32 x 32.
Paper:  no number. Not measured here.
"""

_base_ = './hoga-search-k8_resnet20_1xb128-100e_cifar10.py'

model = dict(architecture=dict(backbone=dict(depth=56)))
