"""One self-contained HTML report of a search, of trained networks, or of both."""

import sys

from mmhoga.launch.analyses.report import report_main

if __name__ == '__main__':
    sys.exit(report_main())
