"""Data sets that the hosts lack: handwritten digits, boxes as images, and the split into trainA and trainB."""

from mmhoga.compat import require_mmengine

require_mmengine()

from mmhoga.datasets.classification import CocoCrops, Digits
from mmhoga.datasets.split import RandomSplit

__all__ = ['CocoCrops', 'Digits', 'RandomSplit']
