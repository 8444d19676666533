"""Arguments that several commands share. ``train`` and ``test`` have the flags of the hosts' own tools."""

from __future__ import annotations

import argparse
import ast
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
    is_same = ConfigOptions._parse_iterable(text) == value
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


def flops_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Parameters and multiply-accumulates of a config's model; needs no data.",
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        default=[224, 224],
        metavar='N',
        help='input height and width, or one number for both (default: 224 224)',
    )
    add_config_options(parser)
    return parser


def genotype_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Show, draw, validate, compare, convert and count genotypes.')
    parser.add_argument(
        '--import',
        dest='imports',
        action='append',
        default=[],
        metavar='MODULE',
        help='a module that registers primitives of your own; before COMMAND',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, what in (
        ('show', 'the edges, and where a genotype came from'),
        ('validate', 'whether files are genotypes; exit code 2 if one is not'),
        ('compare', 'edge by edge, and how many agree'),
        ('draw', 'groups, nodes and edges; several side by side, differences ringed'),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument('genotype', nargs='+', help='a built-in name, or a genotype.json')
        if name == 'show':
            command.add_argument('--json', action='store_true', help='as JSON')
        if name == 'draw':
            command.add_argument(
                '--out', required=True, help='FILE.svg, .png or .pdf; the edges as a table go beside it, .csv'
            )
    convert = commands.add_parser('convert', help="from the text of the authors' genotypes.py, or of a log of theirs")
    convert.add_argument('text', help='the file; only literals are read, nothing is evaluated')
    convert.add_argument('--name', help='which of its genotypes (default: the last)')
    convert.add_argument('--out', help='FILE.json (default: print)')
    count = commands.add_parser('count', help='parameters and multiply-accumulates of a cell, edge by edge')
    count.add_argument('genotype', help='a built-in name, or a genotype.json')
    count.add_argument('--channels', type=int, required=True, help="the cell's input channels")
    count.add_argument(
        '--size', type=int, nargs='+', required=True, metavar='N', help='height and width, or one number'
    )
    return parser
