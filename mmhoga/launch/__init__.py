"""What the command lines under ``tools/`` do, importable: they hold no logic of their own."""

from mmhoga.launch.main import test_main, train_main

__all__ = ['test_main', 'train_main']
