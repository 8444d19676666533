"""The log line of a validation without values of earlier validations."""

from __future__ import annotations

from typing import Any

from mmengine.runner import LogProcessor, Runner


class SearchLogProcessor(LogProcessor):
    """Logs the values of one validation as they are.

    mmengine averages every value whose name contains ``loss`` or ``time`` over ``window_size`` records. After a
    training iteration that smooths the losses of batches. After a validation it would mix ``val_loss`` with those of
    earlier epochs.
    """

    @classmethod
    def install(cls, runner: Runner) -> None:
        """Convert the runner's log processor, which keeps its settings. A class of a host or a user stays."""
        if type(runner.log_processor) is LogProcessor:
            runner.log_processor.__class__ = cls

    window_size: int

    def get_log_after_epoch(self, *args: Any, **kwargs: Any) -> Any:
        window, self.window_size = self.window_size, 1
        try:
            return super().get_log_after_epoch(*args, **kwargs)
        finally:
            self.window_size = window
