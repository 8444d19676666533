# The detector of hoga-search_faster-rcnn_r18_fpn_1xb8-6e_shapes.py, which is wrapped there.
_base_ = '../../demo/faster-rcnn_r18_fpn_1xb8-10e_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA'), position='after_conv2')]))
