# The network of configs/search/hoga-search_resnet20_1xb128-100e_cifar10.py.
_base_ = '../models/resnet20_cifar10.py'

model = dict(
    backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=4), position='after_conv2')])
)
