"""Data that the hosts lack: handwritten digits that need no download, and the split into trainA and trainB."""

from mmhoga.datasets.digits import Digits
from mmhoga.datasets.split import RandomSplit

__all__ = ['Digits', 'RandomSplit']
