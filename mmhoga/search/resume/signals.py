"""SIGTERM, which Slurm sends before it takes a node away, as a request to save and leave."""

from __future__ import annotations

import signal
import threading
from typing import Any

import torch
from mmengine.dist import all_reduce

EXIT_STOPPED = 128 + signal.SIGTERM  # as shells report it


class StopRequest:
    """Context in which SIGTERM sets :attr:`received` instead of ending the process.

    Python handles signals in the main thread only; in any other thread this context does nothing.
    """

    def __init__(self) -> None:
        self.received = False

    def in_any_process(self) -> bool:
        """Whether any process received SIGTERM; the same answer in all of them.

        A collective of one byte: every process must call it at the same iteration. Without other processes it costs
        nothing.
        """
        flag = torch.tensor([self.received], dtype=torch.uint8)
        all_reduce(flag, op='max')
        return bool(flag)

    def __enter__(self) -> StopRequest:
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._installed:
            signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)

    def _receive(self, *_: Any) -> None:
        self.received = True
