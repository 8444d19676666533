"""A figure and the numbers behind it, as files that are written whole or not at all."""

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
_STYLE: dict[Any, Any] = {
    'font.family': 'sans-serif',
    'font.sans-serif': ['DejaVu Sans'],
    'font.size': 9.0,
    'text.parse_math': False,  # a network's name may hold a dollar sign
    'axes.titlesize': 9.0,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.7,
    'figure.facecolor': 'white',
    'legend.frameon': False,
}


def file_style() -> Any:
    """A context to draw figures for files in: matplotlib's defaults and ours, dark on white."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE})


def check_figure_path(path: str | os.PathLike, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """The path, if a figure can go there; called before the computing starts.

    Raises:
        ValueError: none of the suffixes.
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
    """Write ``NAME.png`` (or ``.pdf``), ``NAME.npz`` with the arrays and ``NAME.json`` with what they are of.

    Returns:
        The three paths. The figure comes last: where it is, its numbers are.
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
