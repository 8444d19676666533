"""Train random genotypes of the search's space, and rank them."""

import sys

from mmhoga.launch.random_search import random_search_main

if __name__ == '__main__':
    sys.exit(random_search_main())
