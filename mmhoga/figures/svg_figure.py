"""matplotlib figures as SVG elements of a page: its text colour, no outside reference, the same bytes each time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# A colour that nothing else uses; the SVG says currentColor in its place, so light and dark pages both work.
INK = '#0a0b0c'

_STYLE: dict[Any, Any] = {
    'svg.fonttype': 'none',
    'font.family': 'sans-serif',
    'font.sans-serif': ['DejaVu Sans'],
    'font.size': 9.0,
    'text.parse_math': False,  # a network's name may hold a dollar sign
    'text.color': INK,
    'axes.labelcolor': INK,
    'axes.edgecolor': INK,
    'axes.titlesize': 9.0,
    'axes.labelsize': 9.0,
    'axes.linewidth': 0.6,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.facecolor': 'none',
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': INK,
    'grid.alpha': 0.14,
    'grid.linewidth': 0.6,
    'xtick.color': INK,
    'ytick.color': INK,
    'xtick.labelsize': 8.0,
    'ytick.labelsize': 8.0,
    'figure.facecolor': 'none',
    'savefig.facecolor': 'none',
    'legend.frameon': False,
    'legend.fontsize': 8.5,
    'hatch.linewidth': 0.5,
    'lines.linewidth': 1.6,
    'lines.solid_capstyle': 'round',
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and export within this; matplotlib's own settings come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def to_svg(figure: Figure, *, name: str, title: str) -> str:
    """Export a figure.

    Args:
        figure: drawn with ``INK`` for whatever should take the page's text colour.
        name: unique on the page; it goes before every id.
        title: what a screen reader announces.
    """
    buffer = io.StringIO()
    empty = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
    with matplotlib.rc_context({'svg.hashsalt': name}):
        figure.savefig(buffer, format='svg', metadata=empty)
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r'<!--.*?-->', '', svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('url(#', f'url(#{name}-').replace('xlink:href="#', f'href="#{name}-')
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', '')
    svg = svg.replace(INK, 'currentColor').replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    label = escape(title)
    head, tail = svg.split('>', 1)
    return f'{head} role="img" aria-label="{label}">\n <title>{label}</title>{tail}'
