"""Errors before the first step become one paragraph and exit code 2; later ones keep their traceback."""

from __future__ import annotations

import os
import sys
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Callable

from mmengine.config import Config

from mmhoga.cli.run.data_checks import PARTS, data_problem
from mmhoga.hosts import LaunchError, build_problem

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run(main: Callable[[], None], *bad_input: type[Exception]) -> int:
    """Call ``main`` and return the exit code. ``MMHOGA_DEBUG=1`` lets tracebacks through.

    Exceptions of the types ``bad_input`` are reported like a LaunchError.
    """
    reported: tuple[type[Exception], ...] = (LaunchError, *bad_input)
    try:
        main()
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return EXIT_INTERRUPTED
    except reported as error:
        if os.environ.get('MMHOGA_DEBUG'):
            raise
        print(f'error: {error}', file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


@contextmanager
def explained(
    cfg: Config, parts: Sequence[str] = PARTS, has_started: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Convert any exception into a LaunchError about the data, if they are wrong, or about the config.

    Args:
        cfg: the config.
        parts: the data loaders to check after an exception: ``train``, ``val``, ``test``.
        has_started: once it returns True, exceptions pass unchanged.
    """
    try:
        yield
    except LaunchError:
        raise
    except urllib.error.URLError as error:
        raise LaunchError(
            f'a download failed ({error.reason}). The lines above name the address and the place '
            'where the file goes; without a network, download it elsewhere and put it there.'
        ) from error
    except Exception as error:
        if has_started():
            raise
        raise LaunchError(data_problem(cfg, parts) or build_problem(cfg, error)) from error
