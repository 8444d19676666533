_base_ = './faster-rcnn_r18_fpn_1xb8-10e_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
