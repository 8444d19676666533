"""The class selectivity index of several checkpoints over a data set."""

import sys

from mmhoga.launch.analyses.selectivity import selectivity_main

if __name__ == '__main__':
    sys.exit(selectivity_main())
