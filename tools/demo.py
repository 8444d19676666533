"""Search an attention on handwritten digits, train it beside its rivals, and write a report of both."""

import sys

from mmhoga.demo import demo_main

if __name__ == '__main__':
    sys.exit(demo_main())
