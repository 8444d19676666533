"""ResNet-8 with SE after the last norm of each block, on handwritten digits.

mmhoga train configs/digits/se-resnet8_1xb96-8e_digits.py
"""

_base_ = './resnet8_1xb96-8e_digits.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.Attention', name='se'), position='after_conv2')]))
