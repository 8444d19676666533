"""ResNet-18 with HOGA as a classifier of generated shapes, at a size for a CPU. Pre-trains the demo detectors.

    mmhoga make-data
    mmhoga train configs/demo/hoga-resnet18_1xb32-10e_shapes.py

Results: docs/demo_hosts.md.
"""

_base_ = './resnet18_1xb32-10e_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
