"""Train with the genotype from search.py. Run in the top folder of the checkout:

mmhoga train docs/examples/own_primitive/train.py
"""

_base_ = '../../../configs/digits/hoga-resnet8_1xb96-8e_digits.py'

custom_imports = dict(imports=['docs.examples.own_primitive.eca'])

hoga = dict(type='mmhoga.HOGA', genotype='work_dirs/search/genotype.json')
model = dict(backbone=dict(plugins=[dict(cfg=hoga, position='after_conv2')]))
