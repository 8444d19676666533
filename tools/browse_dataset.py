"""Draw what a config's data set hands to the network, of any host."""

import sys

from mmhoga.launch.browse import browse_main

if __name__ == '__main__':
    sys.exit(browse_main())
