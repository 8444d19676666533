"""Arguments that the looks share: the networks, the images and the file to write; and the writing of that file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.device import get_device

from mmhoga.cli.looks.networks import TrainedNetwork
from mmhoga.cli.run.arguments import add_config_options
from mmhoga.cli.run.parser import command_parser
from mmhoga.cli.values import output_file
from mmhoga.figures.figure_files import SUFFIXES, save_figure
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
    out_help = 'FILE.png or FILE.pdf; also writes .npz and .json'
    parser.add_argument('--out', type=output_file(*SUFFIXES), required=True, metavar='FILE', help=out_help)
    parser.add_argument('--device', default=get_device(), help='the device to compute on (default: %(default)s)')
    add_config_options(parser)
    return parser


def add_image_arguments(parser: argparse.ArgumentParser, default: int) -> None:
    """Add ``--images`` and ``--samples``; without them a command shows ``default`` samples."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--images', nargs='+', metavar='FILE', help='image files, prepared by the test pipeline')
    text = 'the first sample' if default == 1 else f'the first of each of {default} classes'
    samples_help = f'samples of the test data set, from 0 (default: {text})'
    which.add_argument('--samples', nargs='+', type=int, metavar='N', help=samples_help)
    parser.set_defaults(default_samples=default)


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--batch-size`` and ``--workers``."""
    parser.add_argument('--batch-size', type=int, default=64, help='images per batch; does not change the result')
    parser.add_argument('--workers', type=int, default=0, help='processes that read images (default: 0)')


def save_look(
    args: argparse.Namespace,
    command: str,
    networks: Sequence[TrainedNetwork],
    figure: Figure,
    arrays: Mapping[str, np.ndarray],
    **entries: Any,
) -> None:
    """Write the figure, its arrays, and a ``.json`` with networks, entries and versions; print the paths."""
    models = [
        {'name': network.name, 'config': str(network.cfg.filename), 'checkpoint': network.checkpoint}
        for network in networks
    ]
    record = {'command': command, 'models': models, **entries, 'environment': describe_environment()}
    print(*save_figure(args.out, figure, arrays, record), sep='\n')
