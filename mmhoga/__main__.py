"""``python -m mmhoga``: the same as the command ``mmhoga``."""

import sys

from mmhoga.cli.main import main

sys.exit(main())
