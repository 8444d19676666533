"""Drawing of one or several genotypes (the paper's Fig. 3 and the tail of Eq. 3), for a page or as a file."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from mmhoga.figures.genotype_layout import FONT_SIZE, Box, Layout, Wire
from mmhoga.figures.styles import FAMILIES, INK, SOFT, check_figure_path, edge_label, page_style, style, to_svg
from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype, edge_list, edge_name

_DPI = 72  # one unit of the layout is one point
_SMALL = FONT_SIZE - 1
_TITLE_HEIGHT = 28.0  # above each of several drawings, and below them for the note


def differing_edges(genotypes: Sequence[Genotype]) -> set[tuple[int, int]]:
    """Edges (source, target) that some genotypes lack, or on which their operations differ."""
    tables = [{edge: genotype.operation(*edge) for edge in edge_list(genotype.num_groups)} for genotype in genotypes]
    return {edge for table in tables for edge in table if len({other.get(edge) for other in tables}) > 1}


def difference_note(genotypes: Sequence[Genotype]) -> str:
    """A sentence on the ringed edges."""
    count = len(differing_edges(genotypes))
    edges = max(len(edge_list(genotype.num_groups)) for genotype in genotypes)
    return f'Ringed: the edges that differ, {count} of {edges}.' if count else 'All edges are the same.'


def describe(genotype: Genotype) -> str:
    """The genotype in words, for readers who cannot see the drawing."""
    rows = []
    for k, row in enumerate(genotype.edges):
        terms = ', '.join(f'{style(name).label} ({edge_label(j, k)})' for j, name in enumerate(row))
        rows.append(f'U{k}: {terms}')
    return '; '.join(rows) + '.'


def check_drawing_path(path: str | os.PathLike) -> Path:
    """Return the path if a drawing can be written there. Raises as :func:`save_drawing`."""
    return check_figure_path(path, ('.svg', '.png', '.pdf'))


def save_drawing(
    genotype: Genotype | Mapping[str, Genotype], path: str | os.PathLike, *, title: str = 'Genotype'
) -> None:
    """Draw a genotype, or several by name side by side, into a ``.svg``, ``.png`` (3 pixels per unit) or ``.pdf`` file.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: the folder does not exist.
    """
    path = check_drawing_path(path)
    content: bytes | str
    if isinstance(genotype, Genotype):
        genotypes, words, note = {'': genotype}, describe(genotype), ''
    else:
        genotypes, note = dict(genotype), difference_note(list(genotype.values()))
        words = ' '.join(f'{name}: {describe(item)}' for name, item in genotypes.items())
        title = f'Genotypes {" and ".join(genotypes)}'
    with page_style():
        ringed = differing_edges(list(genotypes.values()))
        figure, hints = _drawing({name: Layout(item) for name, item in genotypes.items()}, ringed, note)
        if path.suffix == '.svg':
            content = to_svg(figure, name='cell', title=title, description=words, hints=hints, alone=True)
        else:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix[1:], dpi=3 * _DPI, facecolor='white')
            content = buffer.getvalue()
    write_atomic(path, content)


def genotype_svg(
    genotype: Genotype, *, name: str, title: str = 'Genotype', ringed: Collection[tuple[int, int]] = ()
) -> str:
    """The drawing as an SVG element of a page, where its ``name`` is unique. ``ringed`` edges stand out."""
    plan = Layout(genotype)
    with page_style():
        figure, hints = _drawing({'': plan}, ringed)
        # On a narrow page the drawing shrinks as long as the labels can be read, and scrolls from there on.
        width = 0.74 * plan.width
        return to_svg(figure, name=name, title=title, description=describe(genotype), hints=hints, min_width=width)


def _drawing(
    plans: Mapping[str, Layout], ringed: Collection[tuple[int, int]], note: str = ''
) -> tuple[Figure, dict[str, str]]:
    """Drawings side by side, and the hints of their shapes by gid. With a note, each is under its name."""
    border = _TITLE_HEIGHT if note else 0.0
    width = sum(plan.width for plan in plans.values())
    height = max(plan.height for plan in plans.values()) + 2 * border
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    x, hints = 0.0, {}
    for index, (name, plan) in enumerate(plans.items()):
        bottom = height - border - plan.height
        axes = figure.add_axes((x / width, bottom / height, plan.width / width, plan.height / height))
        hints.update(_draw(axes, plan, ringed, prefix=f'{index}-' if note else ''))
        middle = (x + plan.width / 2) / width
        figure.text(middle, 1 - 18 / height, name, size=FONT_SIZE, weight='bold', ha='center')
        x += plan.width
    figure.text(8 / width, 10 / height, note, size=_SMALL)
    return figure, hints


def _draw(axes: Axes, plan: Layout, ringed: Collection[tuple[int, int]], prefix: str) -> dict[str, str]:
    axes.set(xlim=(0, plan.width), ylim=(plan.height, 0))
    axes.set_axis_off()
    for wire in plan.wires:
        axes.add_patch(_arrow(wire))
    names = {edge_name(*edge) for edge in ringed}
    hints = {}
    for box in plan.boxes.values():
        gid = prefix + box.name
        axes.add_patch(_shape(box, gid))
        hints[gid] = box.hint
        for number, text in enumerate(box.lines):
            _write(axes, box, number, text, f'{gid}-{number}')
            hints[f'{gid}-{number}'] = box.hint
        if box.name in names:
            axes.add_patch(_plate(box, 3.5, 10, fill=False, edgecolor=INK, linewidth=2.2, gid=f'{gid}-ring'))
    return hints


def _arrow(wire: Wire) -> FancyArrowPatch:
    start, second = wire.points[:2]
    first, last = (0, 90) if second[1] == start[1] else (90, 0)
    return FancyArrowPatch(
        start,
        wire.points[-1],
        connectionstyle=f'angle,angleA={first},angleB={last},rad=9' if len(wire.points) > 2 else 'arc3',
        arrowstyle='-|>,head_length=5,head_width=3',
        mutation_scale=1,
        shrinkA=0,
        shrinkB=0,
        color=SOFT,
        linewidth=1.2,
        linestyle=(0, (1, 3)) if wire.dotted else '-',
        joinstyle='miter',
    )


def _shape(box: Box, gid: str) -> Patch:
    look: dict[str, Any] = dict(facecolor=(INK, 0.07), edgecolor=(INK, 0.45), linewidth=1.0, gid=gid)
    if box.kind == 'node':
        look.update(facecolor=(INK, 0.05), edgecolor=(INK, 1.0), linewidth=1.6)
    elif box.kind == 'sum':
        look.update(facecolor=(INK, 0.05))
    elif box.family == 'none':
        colour = FAMILIES['none'].colour
        look.update(facecolor=(colour, 0.0), edgecolor=colour, linewidth=1.3, linestyle=(0, (1.5, 3)))
    elif box.family is not None:
        colour = FAMILIES[box.family].colour
        look.update(facecolor=(colour, 0.17), edgecolor=colour, linewidth=1.3)
    if box.kind in ('node', 'sum'):
        return Circle(box.centre, box.width / 2, **look)
    if box.kind == 'legend':
        swatch = Box(box.name, box.kind, (), (box.x + 7, box.centre[1]), 12, 12)
        return _plate(swatch, 0, 3, **look)
    return _plate(box, 0, 7 if box.kind == 'operation' else 4, **look)


def _plate(box: Box, margin: float, radius: float, **look: Any) -> FancyBboxPatch:
    corner, size = (box.x - margin, box.y - margin), (box.width + 2 * margin, box.height + 2 * margin)
    return FancyBboxPatch(corner, *size, boxstyle=f'round,pad=0,rounding_size={radius}', **look)


def _write(axes: Axes, box: Box, number: int, text: str, gid: str) -> None:
    """One line of a box's label: the first may be bold, the second is small."""
    x, y = box.centre
    if box.kind == 'legend':
        axes.text(box.x + 18, y, text, size=_SMALL, va='center_baseline', gid=gid)
        return
    bold = box.kind in ('group', 'node', 'operation') and number == 0
    shift = 0.0 if len(box.lines) == 1 else 7.0 if number else -6.5
    size, weight = (_SMALL if number else FONT_SIZE), ('bold' if bold else 'normal')
    axes.text(x, y + shift, text, size=size, weight=weight, ha='center', va='center_baseline', gid=gid)
