"""Time every candidate operation of a search on this machine."""

import sys

from mmhoga.launch.latency import latency_main

if __name__ == '__main__':
    sys.exit(latency_main())
