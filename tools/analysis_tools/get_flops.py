"""Parameters and multiply-accumulates of the model of any config; needs no data."""

import sys

from mmhoga.launch.flops import flops_main

if __name__ == '__main__':
    sys.exit(flops_main())
