"""The same as ``mmhoga train``: train or search from a config of mmdet, mmpretrain, mmpose or mmhoga."""

import sys

from mmhoga.cli.train import train_main

if __name__ == '__main__':
    sys.exit(train_main())
