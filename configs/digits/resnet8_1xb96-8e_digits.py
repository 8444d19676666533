"""ResNet-8 without attention on handwritten digits: seconds on a CPU, no download.

mmhoga train configs/digits/resnet8_1xb96-8e_digits.py
"""

_base_ = [
    '../_base_/models/resnet8_digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_8e.py',
    '../_base_/digits_runtime.py',
]
