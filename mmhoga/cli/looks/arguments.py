"""What the command lines have in common: which models, which images, where the figure goes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from mmengine.config import DictAction
from mmengine.device import get_device

from mmhoga.cli.looks.pictures import Picture, from_dataset, from_files, spread
from mmhoga.cli.looks.subjects import Subject
from mmhoga.cli.run.errors import run
from mmhoga.figures.figure_files import check_figure_path
from mmhoga.hosts import LaunchError
from mmhoga.report.environment import describe_environment

EPILOG = 'Mistakes end in one line and exit code 2; MMHOGA_DEBUG=1 shows where they were found.'


def parser(description: str | None, *, single: bool = False) -> argparse.ArgumentParser:
    """A parser with the shared arguments.

    Args:
        description: of the command.
        single: one model, as positional arguments, instead of several with names.
    """
    result = argparse.ArgumentParser(description=description, epilog=EPILOG)
    if single:
        result.add_argument(
            'model', nargs='+', metavar='WORK_DIR | CONFIG CHECKPOINT', help='a work_dir, or a config and a checkpoint'
        )
    else:
        result.add_argument(
            '--model',
            nargs='+',
            action='append',
            required=True,
            metavar=('NAME', 'WORK_DIR | CONFIG CHECKPOINT'),
            help="a network's name, and its work_dir or its config and checkpoint; once for each network",
        )
    result.add_argument('--out', required=True, metavar='FILE', help='FILE.png or .pdf; .npz and .json go beside it')
    result.add_argument('--device', default=get_device(), help='where to compute (default: %(default)s)')
    result.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override keys of every config'
    )
    return result


def add_image_arguments(result: argparse.ArgumentParser, default: int) -> None:
    """``--images`` or ``--samples``."""
    which = result.add_mutually_exclusive_group()
    which.add_argument('--images', nargs='+', metavar='FILE', help="image files, prepared by the config's pipeline")
    which.add_argument(
        '--samples',
        nargs='+',
        type=int,
        metavar='N',
        help=f'samples of the test data set, from 0 (default: the first of {default} classes)',
    )
    result.set_defaults(default_samples=default)


def add_dataset_arguments(result: argparse.ArgumentParser) -> None:
    result.add_argument('--batch-size', type=int, default=64, help='it does not change the result')
    result.add_argument('--workers', type=int, default=0, help='processes that read images')


def pictures(args: argparse.Namespace, subject: Subject) -> list[Picture]:
    """The images of a command line as one network gets them."""
    if args.images:
        return from_files(subject, args.images)
    if args.samples is None:
        args.samples = spread(subject, args.default_samples)  # of the first network, for all of them
    return from_dataset(subject, args.samples)


def facts(command: str, subjects: Sequence[Subject], **others: Any) -> dict[str, Any]:
    """What the file beside a figure records."""
    return {
        'command': command,
        'models': [subject.facts() for subject in subjects],
        **others,
        'environment': describe_environment(),
    }


def call(
    main: Callable[[argparse.Namespace], Sequence[Path]],
    args: argparse.Namespace,
    check: Callable[[str], Any] = check_figure_path,
) -> int:
    """Run a command, print what it wrote, return the exit code: 2 for bad input, 130 after Ctrl-C.

    Args:
        main: the command; returns the paths it wrote.
        args: with ``out``.
        check: raises, before the computing starts, if nothing can be written to ``out``.
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
