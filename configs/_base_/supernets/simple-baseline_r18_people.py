# The pose estimator of configs/search/hoga-search_simple-baseline_r18_1xb16-6e_people.py.
_base_ = '../models/simple-baseline_r18_people.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA'), position='after_conv2')]))
