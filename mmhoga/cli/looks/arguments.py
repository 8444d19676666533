"""Arguments that the commands share: the networks, the images, and the file to write."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from mmengine.device import get_device

from mmhoga.cli.looks.networks import TrainedNetwork
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.figures.styles import check_figure_path
from mmhoga.hosts import LaunchError
from mmhoga.report.environment import describe_environment


def look_parser(purpose: str, example: str, *, single: bool = False) -> argparse.ArgumentParser:
    """A parser for one model as positional arguments (``single``), or for several named ones with ``--model``."""
    parser = command_parser(purpose, example)
    if single:
        parser.add_argument('model', nargs='+', metavar='PATH', help='a work_dir, or a config and a checkpoint')
    else:
        parser.add_argument(
            '--model',
            nargs='+',
            action='append',
            required=True,
            metavar=('NAME', 'PATH'),
            help='a name for a network, and its work_dir or its config and checkpoint; repeat for each network',
        )
    parser.add_argument('--out', required=True, metavar='FILE', help='FILE.png or FILE.pdf; also writes .npz and .json')
    parser.add_argument('--device', default=get_device(), help='the device to compute on (default: %(default)s)')
    add_config_options(parser)
    return parser


def add_image_arguments(parser: argparse.ArgumentParser, default: int) -> None:
    """Add ``--images`` and ``--samples``; without them a command shows ``default`` samples."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--images', nargs='+', metavar='FILE', help='image files, prepared by the test pipeline')
    text = 'the first sample' if default == 1 else f'the first of each of {default} classes'
    which.add_argument(
        '--samples', nargs='+', type=int, metavar='N', help=f'samples of the test data set, from 0 (default: {text})'
    )
    parser.set_defaults(default_samples=default)


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--batch-size`` and ``--workers``."""
    parser.add_argument('--batch-size', type=int, default=64, help='images per batch; does not change the result')
    parser.add_argument('--workers', type=int, default=0, help='processes that read images (default: 0)')


def figure_record(command: str, networks: Sequence[TrainedNetwork], **entries: Any) -> dict[str, Any]:
    """The content of the ``.json`` beside a figure."""
    models = [
        {'name': network.name, 'config': str(network.cfg.filename), 'checkpoint': network.checkpoint}
        for network in networks
    ]
    return {'command': command, 'models': models, **entries, 'environment': describe_environment()}


def run_command(
    main: Callable[[argparse.Namespace], Sequence[Path]],
    args: argparse.Namespace,
    check: Callable[[str], Any] = check_figure_path,
) -> int:
    """Run a command, print the paths it wrote, and return the exit code: 2 for bad input, 130 after Ctrl-C.

    Args:
        main: the command; returns the paths it wrote.
        args: the parsed arguments, with ``out``.
        check: called with ``out`` before the command starts; raises if it cannot be written.
    """

    def checked() -> None:
        try:
            check(args.out)
            for path in main(args):
                print(path)
        except (ValueError, OSError) as error:
            if os.environ.get('MMHOGA_DEBUG'):
                raise
            raise LaunchError(str(error)) from error

    return run(checked)
