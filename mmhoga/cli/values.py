"""Types of arguments, checked when the command line is parsed, and tables for the terminal."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import torch

from mmhoga.hosts import LaunchError, one_paragraph


def positive(kind: type[int] | type[float]) -> Callable[[str], Any]:
    """The ``type`` of an argument that must be a positive, finite ``int`` or ``float``."""

    def convert(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = kind(0)
        if not 0 < number < float('inf'):
            what = 'integer' if kind is int else 'number'
            raise argparse.ArgumentTypeError(f'must be a positive {what}, not {text}')
        return number

    return convert


def not_negative(text: str) -> int:
    """The ``type`` of an argument that must be an integer of at least 0."""
    if not re.fullmatch('[0-9]{1,9}', text):
        raise argparse.ArgumentTypeError(f'must be an integer of at least 0, not {text}')
    return int(text)


def seed(text: str) -> int:
    """The ``type`` of a random seed, in the range of NumPy's."""
    number = int(text) if re.fullmatch(r'[0-9]{1,10}', text) else -1
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f'must be an integer from 0 to 2**32 - 1, not {text}')
    return number


def output_file(*suffixes: str) -> Callable[[str], Path]:
    """The ``type`` of a file to write, with one of the suffixes (any if none is given), in an existing folder."""

    def convert(text: str) -> Path:
        path = Path(text)
        if suffixes and path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f'the name must end in {" or ".join(suffixes)}, not {text}')
        if path.is_dir():
            raise argparse.ArgumentTypeError(f'{path} is a folder')
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise argparse.ArgumentTypeError(f'{path.parent} is not a folder that can be written to')
        return path

    return convert


def require_device(device: str) -> None:
    """Raise a LaunchError if torch cannot compute on a device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # a torch without CUDA asserts
        raise LaunchError(f'--device {device} is not available: {one_paragraph(error)}') from error


def printable(text: str) -> str:
    """The text with control characters escaped: files may come from anyone, and these act on the terminal."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def height_and_width(option: str, numbers: Sequence[int]) -> tuple[int, int]:
    """Read the numbers of an option: height and width, or one for both. More than two raise a LaunchError."""
    if len(numbers) > 2:
        raise LaunchError(f'{option} takes height and width, or one number for both, not {len(numbers)} numbers.')
    return numbers[0], numbers[-1]


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Align the columns of a table with a header. Columns of numbers are aligned to the right."""
    columns = []
    for column in zip(*rows):
        width = max(map(len, column))
        is_numeric = all(re.fullmatch(r'-|\d[\d.,e+-]*', cell) for cell in column[1:])
        columns.append([cell.rjust(width) if is_numeric else cell.ljust(width) for cell in column])
    return '\n'.join('  '.join(row).rstrip() for row in zip(*columns))
