"""Search on handwritten digits with your own primitive among the candidates. Run in the top folder of the checkout:

mmhoga train docs/examples/own_primitive/search.py
"""

_base_ = '../../../configs/search/hoga-search_resnet8_1xb64-8e_digits.py'

custom_imports = dict(imports=['docs.examples.own_primitive.eca'])

model = dict(primitives=['none', 'skip_connect', 'norm_3x3', 'spatial_3x3', 'se', 'eca'])
