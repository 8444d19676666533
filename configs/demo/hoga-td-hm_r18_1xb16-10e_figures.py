"""SimpleBaseline with HOGA (Table 8) at a size for a CPU, on generated figures.

    python tools/make_shapes.py
    python tools/train.py configs/demo/hoga-td-hm_r18_1xb16-10e_figures.py

Measured: keypoint AP 0.922 on the 100 held-out images, seed 0; 2 minutes on one CPU core, from scratch.
The figure tells that it learns, nothing about COCO.
"""

_base_ = './td-hm_r18_1xb16-10e_figures.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
