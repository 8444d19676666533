"""ResNet-8 with CBAM after the last norm of each block, on handwritten digits.

mmhoga train configs/digits/cbam-resnet8_1xb96-8e_digits.py
"""

_base_ = './resnet8_1xb96-8e_digits.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.Attention', name='cbam'), position='after_conv2')]))
