# The detector of configs/search/hoga-search_faster-rcnn_r18_fpn_1xb8-6e_shapes.py.
_base_ = '../models/faster-rcnn_r18_fpn_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA'), position='after_conv2')]))
