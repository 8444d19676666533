"""Evaluate a checkpoint with any config of mmdet, mmpretrain, mmpose or mmhoga."""

import sys

from mmhoga.cli import test_main

if __name__ == '__main__':
    sys.exit(test_main())
