"""Generate small data sets in COCO format, for detection and for pose estimation."""

import sys

from mmhoga.launch.shapes import shapes_main

if __name__ == '__main__':
    sys.exit(shapes_main())
