"""SSD on a three-stage ResNet with HOGA (Table 7) at a size for a CPU, on generated shapes.

    mmhoga make-data
    mmhoga train configs/demo/hoga-ssd_r18_1xb8-20e_shapes.py

Results: docs/demo_hosts.md.
"""

_base_ = './ssd_r18_1xb8-20e_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
