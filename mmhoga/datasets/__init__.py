"""Data sets that the hosts lack: handwritten digits, boxes as images, and the split into trainA and trainB."""

from mmhoga.datasets.crops import CocoCrops
from mmhoga.datasets.digits import Digits
from mmhoga.datasets.split import RandomSplit

__all__ = ['CocoCrops', 'Digits', 'RandomSplit']
