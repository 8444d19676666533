# The network of configs/search/hoga-search_resnet8_1xb64-8e_digits.py.
_base_ = '../models/resnet8_digits.py'

model = dict(
    backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=4), position='after_conv2')])
)
