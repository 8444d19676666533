"""Arguments that several commands share. ``train`` and ``test`` have the flags of the hosts' own tools."""

from __future__ import annotations

import argparse
import ast
import os
from typing import Any

from mmengine.config import DictAction

from mmhoga.cli.run.parser import command_parser as command_parser


class ConfigOptions(DictAction):
    """``KEY=VALUE`` arguments as in the hosts' tools.

    mmengine removes white space and splits at commas. A value in quotes of its own is kept:
    ``--cfg-options "data_root='my data, new'"``.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:  # no '=', or brackets that do not match
            parser.error(f'--cfg-options takes KEY=VALUE, not {" ".join(values)} ({error})')

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        if val[:1] in ('"', "'", '[', '(', '{'):
            try:
                value = ast.literal_eval(val)
            except (ValueError, SyntaxError):
                value = None
            if isinstance(value, (str, list, tuple, dict)):
                return value
        return DictAction._parse_iterable(val)


def option_text(key: str, value: object) -> str:
    """``key=value`` as ``--cfg-options`` reads it back. Only values that need quotes get them."""
    text = str(value)
    value = text if isinstance(value, os.PathLike) else value
    parsed = ConfigOptions._parse_iterable(text)
    is_same = parsed == value and type(parsed) is type(value)
    return f'{key}={text if is_same else repr(value)}'


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


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both ``train`` and ``test``."""
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)')
    add_config_options(parser)
    parser.add_argument('--no-pin-memory', action='store_true', help='set pin_memory=False in the data loaders')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='program that started the processes (default: none)',
    )
    # torch.distributed.launch of torch >= 2.0 uses a hyphen.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
