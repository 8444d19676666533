"""Faster R-CNN with FPN and HOGA at a size for a CPU, on generated shapes.

    mmhoga make-data
    mmhoga train configs/demo/hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes.py

Results: docs/demo_hosts.md.
"""

_base_ = './faster-rcnn_r18_fpn_1xb8-10e_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
