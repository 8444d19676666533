"""A figure and its numbers as files, each written completely or not at all."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mmhoga.files import write_atomic

SUFFIXES = ('.png', '.pdf')
#: Settings of every figure.
BASE_STYLE: dict[Any, Any] = {
    'font.family': 'sans-serif',
    'font.sans-serif': ['DejaVu Sans'],
    'font.size': 9.0,
    'text.parse_math': False,  # a network's name may contain a dollar sign
    'axes.titlesize': 9.0,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'legend.frameon': False,
}


def file_style() -> Any:
    """A context for drawing figures that are saved as files: matplotlib's defaults and ours, dark on white."""
    style = {**matplotlib.rcParamsDefault, **BASE_STYLE, 'axes.linewidth': 0.7, 'figure.facecolor': 'white'}
    return matplotlib.rc_context(style)


def check_figure_path(path: str | os.PathLike, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Return the path if a figure can be written there. Call this before long computations.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(
            f'Cannot draw into {str(path)!r}: the name must end in {", ".join(suffixes[:-1])} or {suffixes[-1]}.'
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f'No folder {str(path.parent)!r} to draw {path.name} into; create it first.')
    return path


def save_figure(
    path: str | os.PathLike,
    figure: Figure,
    arrays: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    *,
    dpi: int = 150,
) -> list[Path]:
    """Write ``NAME.png`` (or ``.pdf``), ``NAME.npz`` with the arrays and ``NAME.json`` with their origin.

    Returns:
        The three paths. The figure is written last: where it exists, its numbers do too.
    """
    path = check_figure_path(path)
    picture, numbers = io.BytesIO(), io.BytesIO()
    with file_style():
        figure.savefig(picture, format=path.suffix[1:], dpi=dpi)
    np.savez_compressed(numbers, **{name: np.asarray(array) for name, array in arrays.items()})
    written = [path.with_suffix('.npz'), path.with_suffix('.json'), path]
    text = json.dumps(facts, indent=1, ensure_ascii=False) + '\n'
    contents: tuple[bytes | str, ...] = (numbers.getvalue(), text, picture.getvalue())
    for target, content in zip(written, contents):
        write_atomic(target, content)
    return written
