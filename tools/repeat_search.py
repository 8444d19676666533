"""Repeat a search with several seeds, and say how far the genotypes agree."""

import sys

from mmhoga.launch.repeat_search import repeat_search_main

if __name__ == '__main__':
    sys.exit(repeat_search_main())
