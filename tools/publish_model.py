"""Write the weights of a checkpoint, without what only its training needed, under a name with their hash."""

import sys

from mmhoga.launch.publish import publish_main

if __name__ == '__main__':
    sys.exit(publish_main())
