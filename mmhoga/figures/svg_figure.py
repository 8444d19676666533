"""matplotlib figures as SVG that adapts to its page: same text colour, no outside reference, reproducible bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape

import matplotlib
from matplotlib.figure import Figure

from mmhoga.figures.figure_files import BASE_STYLE

# Colours that nothing else uses. In a page, currentColor and --soft take their place, for light and dark schemes alike.
INK, SOFT = '#0a0b0c', '#7b828c'

_STYLE = {
    **BASE_STYLE,
    'svg.fonttype': 'none',
    'text.color': INK,
    'axes.labelcolor': INK,
    'axes.edgecolor': INK,
    'axes.labelsize': 9.0,
    'axes.linewidth': 0.6,
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
    'legend.fontsize': 8.5,
    'hatch.linewidth': 0.5,
    'lines.linewidth': 1.6,
    'lines.solid_capstyle': 'round',
}

# For a file of its own: a background for either colour scheme.
_ALONE = """svg { color: #1c2430; background: #ffffff; }
@media (prefers-color-scheme: dark) { svg { color: #e6e9ee; background: #14171c; } }"""


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and export within this context. matplotlib's settings are restored afterwards."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
        yield


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
    """Export a figure.

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
    empty = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
    with matplotlib.rc_context({'svg.hashsalt': name}):
        figure.savefig(buffer, format='svg', metadata=empty)
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r'<!--.*?-->', '', svg, flags=re.DOTALL)
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
