"""The gates that HOGA computes for an image, edge by edge and node by node."""

import sys

from mmhoga.launch.analyses.attention_maps import attention_maps_main

if __name__ == '__main__':
    sys.exit(attention_maps_main())
