"""Count what every row of the paper's tables costs; write docs/costs.md, the READMEs and metafiles of configs/."""

import sys

from mmhoga.launch.zoo import zoo_main

if __name__ == '__main__':
    sys.exit(zoo_main())
