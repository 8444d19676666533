"""The same drawing as a file: SVG as text, PNG and PDF through matplotlib, from one and the same layout."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve

from mmhoga.figures.figure_files import SUFFIXES, check_figure_path
from mmhoga.figures.genotype_drawing import (
    TITLE_HEIGHT,
    difference_note,
    differing_edges,
    draw_comparison,
    draw_genotype,
    ring,
)
from mmhoga.figures.genotype_layout import FONT_SIZE, Box, Layout, Wire, layout, operation_name
from mmhoga.figures.palette import FAMILIES
from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype

_DPI = 72  # one unit of the layout is one point
_INK, _LINE = '#1c2430', '#7b828b'


def save_drawing(
    genotype: Genotype | Mapping[str, Genotype], path: str | os.PathLike, *, title: str = 'Genotype'
) -> None:
    """Draw a genotype into a ``.svg``, ``.png`` (3 pixels a unit) or ``.pdf``; of several, by name, a comparison.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: the folder does not exist.
    """
    path = check_drawing_path(path)
    if path.suffix == '.svg':
        if isinstance(genotype, Genotype):
            write_atomic(path, draw_genotype(genotype, title=title, alone=True))
        else:
            write_atomic(path, draw_comparison(genotype))
        return
    figure = genotype_figure(genotype) if isinstance(genotype, Genotype) else comparison_figure(genotype)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:], dpi=3 * _DPI)
    write_atomic(path, content.getvalue())


def check_drawing_path(path: str | os.PathLike) -> Path:
    """The path, if a drawing can go there; errors as of :func:`save_drawing`."""
    return check_figure_path(path, ('.svg', *SUFFIXES))


def genotype_figure(genotype: Genotype) -> Figure:
    """The drawing as a matplotlib figure, dark on white."""
    plan = layout(genotype)
    figure = Figure(figsize=(plan.width / _DPI, plan.height / _DPI), dpi=_DPI, facecolor='white')
    _draw(figure.add_axes((0, 0, 1, 1)), plan)
    return figure


def comparison_figure(genotypes: Mapping[str, Genotype]) -> Figure:
    """Genotypes side by side, each under its name, ringed the edges that differ."""
    plans = {name: layout(genotype) for name, genotype in genotypes.items()}
    ringed = {operation_name(*edge) for edge in differing_edges(list(genotypes.values()))}
    width = sum(plan.width for plan in plans.values())
    height = max(plan.height for plan in plans.values()) + 2 * TITLE_HEIGHT
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor='white')
    x = 0.0
    for name, plan in plans.items():
        bottom = height - TITLE_HEIGHT - plan.height
        axes = figure.add_axes((x / width, bottom / height, plan.width / width, plan.height / height))
        _draw(axes, plan)
        for box in plan.boxes:
            if box.name in ringed:
                left, top, wide, high = ring(box)
                style = 'round,pad=0,rounding_size=10'
                axes.add_patch(
                    FancyBboxPatch((left, top), wide, high, boxstyle=style, fill=False, edgecolor=_INK, linewidth=2)
                )
        middle = (x + plan.width / 2) / width
        figure.text(middle, 1 - 18 / height, name, size=FONT_SIZE, weight='bold', ha='center', color=_INK)
        x += plan.width
    figure.text(8 / width, 10 / height, difference_note(list(genotypes.values())), size=FONT_SIZE - 1, color=_INK)
    return figure


def _draw(axes: Axes, plan: Layout) -> None:
    axes.set_xlim(0, plan.width)
    axes.set_ylim(plan.height, 0)
    axes.set_axis_off()
    for wire in plan.wires:
        axes.add_patch(_curve(wire))
        axes.add_patch(Polygon(wire.head(), facecolor=_LINE, edgecolor='none'))
    for box in plan.boxes:
        _draw_box(axes, box)


def _curve(wire: Wire) -> PathPatch:
    vertices, codes = [wire.points[0]], [Curve.MOVETO]
    for piece in wire.rounded():
        vertices += piece
        codes += [Curve.LINETO] if len(piece) == 1 else [Curve.CURVE3, Curve.CURVE3]
    return PathPatch(
        Curve(vertices, codes),
        fill=False,
        edgecolor=_LINE,
        linewidth=1.2,
        linestyle=(0, (1, 3)) if wire.dotted else '-',
    )


def _draw_box(axes, box: Box) -> None:
    x, y = box.centre
    colour = FAMILIES[box.family].colour if box.family else _INK
    if box.kind == 'legend':
        axes.add_patch(_plate(box.x + 1, y - 6, 12, 12, 3, colour, box.family))
        axes.text(box.x + 18, y, box.lines[0], size=FONT_SIZE - 2, va='center', color=_INK)
        return
    if box.kind in ('node', 'sum'):
        axes.add_patch(
            Circle(
                (x, y), box.width / 2, facecolor='white', edgecolor=_INK, linewidth=1.5 if box.kind == 'node' else 0.7
            )
        )
    else:
        radius = 7 if box.kind == 'operation' else 4
        axes.add_patch(_plate(box.x, box.y, box.width, box.height, radius, colour, box.family))
    weight = 'bold' if box.kind in ('group', 'node', 'operation') else 'normal'
    rise = 6.5 if len(box.lines) == 2 else 0.0
    axes.text(x, y - rise, box.lines[0], size=FONT_SIZE - 1, weight=weight, ha='center', va='center', color=_INK)
    if len(box.lines) == 2:
        axes.text(x, y + 7, box.lines[1], size=FONT_SIZE - 2, ha='center', va='center', color=_INK)


def _plate(
    x: float, y: float, width: float, height: float, radius: float, colour: str, family: str | None
) -> FancyBboxPatch:
    fill = (colour, 0.0 if family == 'none' else 0.17 if family else 0.06)
    return FancyBboxPatch(
        (x, y),
        width,
        height,
        boxstyle=f'round,pad=0,rounding_size={radius}',
        facecolor=fill,
        edgecolor=colour if family else _LINE,
        linewidth=1.1,
        linestyle=(0, (1.5, 3)) if family == 'none' else '-',
    )
