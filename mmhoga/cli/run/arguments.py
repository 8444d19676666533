"""Arguments that several commands share. ``doctor`` imports this file, so it needs only the standard library."""

from __future__ import annotations

import argparse
import ast
import os
from typing import Any


def command_parser(purpose: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help starts with the purpose of the command and ends with an example."""
    epilog = f'example:\n  {example}\n\nErrors are one paragraph and exit code 2; MMHOGA_DEBUG=1 adds the traceback.'
    return argparse.ArgumentParser(
        description=purpose, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override keys of the config, for example model.backbone.depth=18, '
        'key="[a,b]" or key="\'text, with a comma\'"',
    )


class ConfigOptions(argparse.Action):
    """``KEY=VALUE`` arguments as in the hosts' tools."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values:
            try:
                key, text = pair.split('=', maxsplit=1)
                options[key] = parse_value(text)
            except (ValueError, AssertionError):
                parser.error(f'{option_string} takes KEY=VALUE, with matching brackets, not {pair}')
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """Read a value as mmengine does, which splits at commas, but keep values in quotes and Python lists."""
    from mmengine.config import DictAction

    if text[:1] in ('"', "'", '[', '(', '{'):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = None
        if isinstance(value, (str, list, tuple, dict)):
            return value
    return DictAction._parse_iterable(text)


def option_text(key: str, value: object) -> str:
    """``key=value`` as ``--cfg-options`` reads it back. Only values that need quotes get them."""
    text = str(value)
    value = text if isinstance(value, os.PathLike) else value
    parsed = parse_value(text)
    is_same = parsed == value and type(parsed) is type(value)
    return f'{key}={text if is_same else repr(value)}'
