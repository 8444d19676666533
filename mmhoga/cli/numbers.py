"""Numbers on the command line, checked, and in tables."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Callable, TypeVar

from mmhoga.hosts import LaunchError

Number = TypeVar('Number', int, float)


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """The ``type`` of an argument that must be a positive, finite ``int`` or ``float``."""

    def convert(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            number = kind(0)
        if not 0 < number < float('inf'):
            what = 'integer' if kind is int else 'number'
            raise argparse.ArgumentTypeError(f'must be a positive {what}, not {text}')
        return number

    return convert


def height_and_width(option: str, numbers: Sequence[int]) -> tuple[int, int]:
    """Read the numbers of an option: height and width, or one for both.

    Raises:
        LaunchError: there are more than two.
    """
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
