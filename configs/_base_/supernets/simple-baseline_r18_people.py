# The pose estimator of hoga-search_simple-baseline_r18_1xb16-6e_people.py, which is wrapped there.
_base_ = '../../demo/td-hm_r18_1xb16-10e_people.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA'), position='after_conv2')]))
