"""The same as ``mmhoga test``: evaluate a checkpoint with a config of mmdet, mmpretrain, mmpose or mmhoga."""

import sys

from mmhoga.cli.test import test_main

if __name__ == '__main__':
    sys.exit(test_main())
