"""The command line: one file per command."""

from mmhoga.cli.run.main import test_main, train_main

__all__ = ['test_main', 'train_main']
