"""Styles of operations, of figures and of pages, and saving figures: with their numbers, or as SVG for a page.

The colours of operations are mid-tones that stand out on white and on near-black alike. Colour is never the only
distinction: drawings show the name, and lines differ in their dashes as well.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mmhoga.files import write_atomic

TIMES = '\N{MULTIPLICATION SIGN}'


class Family(NamedTuple):
    """A kind of attention: its text in legends and its colour."""

    title: str
    colour: str


class OperationStyle(NamedTuple):
    """A primitive's label (one or two lines), its family, and whether its curve is dashed."""

    lines: tuple[str, ...]
    family: str
    dashed: bool = False

    @property
    def label(self) -> str:
        return ' '.join(self.lines)

    @property
    def colour(self) -> str:
        return FAMILIES[self.family].colour


FAMILIES = {
    'identity': Family('identity', '#78818c'),
    'channel': Family('channel attention', '#2b7fd4'),
    'spatial': Family('spatial attention', '#d3761a'),
    'normalization': Family('normalization attention', '#22986a'),
    'cbam': Family('CBAM', '#a05bd6'),
    'other': Family('other', '#b8527a'),
    'none': Family('none (no edge)', '#9098a1'),
}

_STYLES = {
    'none': OperationStyle(('none',), 'none', dashed=True),
    'skip_connect': OperationStyle(('skip',), 'identity'),
    'norm_3x3': OperationStyle(('norm', f'3{TIMES}3'), 'normalization'),
    'norm_3x3_d2': OperationStyle(('norm', f'3{TIMES}3 d2'), 'normalization', dashed=True),
    'spatial_3x3': OperationStyle(('spatial', f'3{TIMES}3'), 'spatial'),
    'spatial_3x3_d2': OperationStyle(('spatial', f'3{TIMES}3 d2'), 'spatial', dashed=True),
    'se': OperationStyle(('SE',), 'channel'),
    'se_avgmax': OperationStyle(('SE', 'avg+max'), 'channel', dashed=True),
    'cbam': OperationStyle(('CBAM',), 'cbam'),
}

#: Colours of the networks in a comparison, in order. They repeat after the last one.
SERIES = ('#2b7fd4', '#d3761a', '#22986a', '#a05bd6', '#cf4a5b', '#1f9cae', '#9b6b43', '#c45fa8')

# Colours that nothing else uses. In a page, currentColor and --soft take their place, for light and dark schemes alike.
INK, SOFT = '#0a0b0c', '#7b828c'

_BASE_STYLE: dict[Any, Any] = {
    **matplotlib.rcParamsDefault,
    'font.family': 'sans-serif',
    'font.sans-serif': ['DejaVu Sans'],
    'font.size': 9.0,
    'text.parse_math': False,  # a network's name may contain a dollar sign
    'axes.titlesize': 9.0,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'legend.frameon': False,
}
_PAGE_STYLE = {
    **_BASE_STYLE,
    'svg.fonttype': 'none',
    **dict.fromkeys(
        ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'grid.color', 'xtick.color', 'ytick.color'), INK
    ),
    **dict.fromkeys(('axes.facecolor', 'figure.facecolor', 'savefig.facecolor'), 'none'),
    'axes.labelsize': 9.0,
    'axes.linewidth': 0.6,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.alpha': 0.14,
    'grid.linewidth': 0.6,
    'xtick.labelsize': 8.0,
    'ytick.labelsize': 8.0,
    'legend.fontsize': 8.5,
    'hatch.linewidth': 0.5,
    'lines.linewidth': 1.6,
    'lines.solid_capstyle': 'round',
}

# For an SVG file: a background for either colour scheme.
_ALONE = """svg { color: #1c2430; background: #ffffff; }
@media (prefers-color-scheme: dark) { svg { color: #e6e9ee; background: #14171c; } }"""


def style(operation: str) -> OperationStyle:
    """The style of a primitive. An unknown one gets its name as label and the colour of "other"."""
    lines = tuple(part.replace('_', ' ') for part in operation.split('_', 1))
    return _STYLES.get(operation, OperationStyle(lines, 'other'))


def series_colour(index: int) -> str:
    return SERIES[index % len(SERIES)]


def subscript(number: int) -> str:
    """``12 -> '₁₂'``."""
    return str(number).translate(str.maketrans('0123456789', '₀₁₂₃₄₅₆₇₈₉'))


def edge_label(source: int, target: int) -> str:
    """``F₁→U₁`` for source = target, else ``U₀→U₁``."""
    return f'{"F" if source == target else "U"}{subscript(source)}→U{subscript(target)}'


def file_style() -> Any:
    """A context for drawing figures that are saved as files, dark on white."""
    return matplotlib.rc_context({**_BASE_STYLE, 'axes.linewidth': 0.7, 'figure.facecolor': 'white'})


def page_style() -> Any:
    """A context for drawing and exporting figures of a page."""
    return matplotlib.rc_context(_PAGE_STYLE)


def check_figure_path(path: str | os.PathLike, suffixes: Sequence[str] = ('.png', '.pdf')) -> Path:
    """Return the path if a figure can be written there. Call this before long computations.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        allowed = f'{", ".join(suffixes[:-1])} or {suffixes[-1]}'
        raise ValueError(f'Cannot draw into {str(path)!r}: the name must end in {allowed}.')
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

    Each file is written completely or not at all.

    Returns:
        The three paths. The figure is written last: where it exists, its numbers do too.
    """
    path = check_figure_path(path)
    picture, numbers = io.BytesIO(), io.BytesIO()
    with file_style():
        figure.savefig(picture, format=path.suffix[1:], dpi=dpi)
    np.savez_compressed(numbers, **{name: np.asarray(array) for name, array in arrays.items()})
    contents: dict[Path, str | bytes] = {
        path.with_suffix('.npz'): numbers.getvalue(),
        path.with_suffix('.json'): json.dumps(facts, indent=1, ensure_ascii=False) + '\n',
        path: picture.getvalue(),
    }
    for target, content in contents.items():
        write_atomic(target, content)
    return list(contents)


def to_svg(
    figure: Figure,
    *,
    name: str,
    title: str,
    description: str = '',
    hints: Mapping[str, str] | None = None,
    alone: bool = False,
    min_width: float = 0.0,
) -> str:
    """Export a figure as SVG without outside references and with reproducible bytes.

    Args:
        figure: drawn with ``INK`` and ``SOFT`` wherever the page's text colours should be used.
        name: unique on the page; it is the prefix of every id.
        title: read out by a screen reader.
        description: longer than the title, likewise.
        hints: texts shown while the pointer is over a shape, by its gid.
        alone: write a file with its own background instead of an element for a page.
        min_width: in pixels, below which the page scrolls instead of shrinking the figure.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': name}):
        figure.savefig(buffer, format='svg', metadata=dict.fromkeys(('Creator', 'Date', 'Format', 'Type')))
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->', '', svg, flags=re.DOTALL)
    svg = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', svg, count=2)  # pixels
    for gid, hint in (hints or {}).items():
        if hint:
            svg = svg.replace(f'<g id="{gid}">', f'<g id="{gid}">\n <title>{escape(hint)}</title>')
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('url(#', f'url(#{name}-').replace('xlink:href="#', f'href="#{name}-')
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', '')
    svg = svg.replace(INK, 'currentColor').replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    if not alone:
        svg = svg.replace(SOFT, 'var(--soft)')
    head, tail = svg.split('>', 1)
    shrink = f' style="min-width: {min_width:.0f}px"' if min_width else ''
    words = f' <title>{escape(title)}</title>' + (f'\n <desc>{escape(description)}</desc>' if description else '')
    style = f'\n <style>{_ALONE}</style>' if alone else ''
    return f'{head} role="img" aria-label="{escape(title)}"{shrink}>\n{words}{style}{tail}'
