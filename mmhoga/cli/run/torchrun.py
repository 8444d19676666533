"""``torchrun`` that ends with 128 + N after signal N, as shells report it. torch's own ends with 1 and a traceback.

By the code (143 after SIGTERM) Slurm and scripts recognise a run that was stopped and may be continued. The processes
receive the signal too, and have 30 seconds to save.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main

if __name__ == '__main__':
    try:
        main()
    except SignalException as error:
        sys.exit(128 + error.sigval)
