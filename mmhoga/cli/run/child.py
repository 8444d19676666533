"""A command in a process that ends when its parent ends: ``python -m mmhoga.cli.run.child PARENT COMMAND ...``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def end_with(parent: int) -> None:
    """Receive SIGTERM when the process ``parent`` ends, in whatever way. Only Linux can do this.

    To be precise, when the thread ends that started this process.
    """
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it had ended before
            sys.exit(128 + signal.SIGTERM)


if __name__ == '__main__':
    end_with(int(sys.argv[1]))
    from mmhoga.cli.main import main

    sys.exit(main(sys.argv[2:]))
