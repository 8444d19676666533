"""Draw a genotype, or several side by side."""

import sys

from mmhoga.launch.analyses.draw_genotype import draw_genotype_main

if __name__ == '__main__':
    sys.exit(draw_genotype_main())
