"""ResNet-8 with HOGA, the paper's genotype (Fig. 3), on handwritten digits.

    mmhoga train configs/digits/hoga-resnet8_1xb96-8e_digits.py

To train with a searched genotype, add
--cfg-options model.backbone.plugins.0.cfg.genotype=work_dirs/YOUR_SEARCH/genotype.json
"""

_base_ = './resnet8_1xb96-8e_digits.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
