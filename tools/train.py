"""Train, or search, from any config of mmdet, mmpretrain, mmpose or mmhoga."""

import sys

from mmhoga.cli import train_main

if __name__ == '__main__':
    sys.exit(train_main())
