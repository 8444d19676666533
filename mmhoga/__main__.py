"""``python -m mmhoga`` is the same as the command ``mmhoga``."""

import sys

from mmhoga.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
