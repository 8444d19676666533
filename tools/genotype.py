"""Show, draw, validate, compare, convert and count genotypes."""

import sys

from mmhoga.launch.genotypes import genotype_main

if __name__ == '__main__':
    sys.exit(genotype_main())
