"""SIGTERM as a request, which is what Slurm means by it."""

from __future__ import annotations

import signal
import threading
from typing import Any

EXIT_STOPPED = 128 + signal.SIGTERM  # as shells report it


class StopRequest:
    """Inside this context a SIGTERM is noted, in :attr:`made`, instead of killing the process.

    Signals can be caught in the main thread only; elsewhere nothing is caught.
    """

    def __init__(self) -> None:
        self.made = False

    def __enter__(self) -> StopRequest:
        self._catches = threading.current_thread() is threading.main_thread()
        if self._catches:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._catches:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def _note(self, *_: Any) -> None:
        self.made = True
