"""The parser that commands start from (standard library only, for ``doctor``)."""

from __future__ import annotations

import argparse


def command_parser(purpose: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help starts with the purpose of the command and ends with an example."""
    epilog = f'example:\n  {example}\n\nErrors are one paragraph and exit code 2; MMHOGA_DEBUG=1 adds the traceback.'
    return argparse.ArgumentParser(
        description=purpose, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
