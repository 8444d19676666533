"""A ResNet-18 with HOGA that tells generated shapes apart: weights to start the demo detectors from.

    python tools/make_shapes.py
    python tools/train.py configs/demo/hoga-resnet18_1xb32-10e_shapes.py

Measured: top-1 accuracy 99.6 % on the shapes of the 100 held-out images, seed 0;
45 seconds on one CPU core, from scratch.
"""

_base_ = './resnet18_1xb32-10e_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
