"""A genotype as an SVG: groups, nodes, edges labelled by operation (the paper's Fig. 3), and the tail of Eq. (3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape

from mmhoga.figures.genotype_layout import FONT_SIZE, Box, Layout, Point, Wire, layout, operation_name
from mmhoga.figures.palette import FAMILIES, edge_label, style
from mmhoga.genotype import Genotype, edge_list

#: Above each of several drawings, for its name.
TITLE_HEIGHT = 28.0

# Inline, the drawing takes the page's colour; a file of its own brings a background for either scheme.
_STYLE = f"""
.hg text {{ font: {FONT_SIZE:g}px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  fill: currentColor; text-anchor: middle; }}
.hg .small {{ font-size: 11px; }}
.hg .start {{ text-anchor: start; }}
.hg .strong {{ font-weight: 600; }}
.hg .wires {{ fill: none; stroke: currentColor; stroke-width: 1.4; opacity: .62; }}
.hg .wires .dotted {{ stroke-dasharray: 1.5 4; }}
.hg .wires .head {{ fill: currentColor; stroke: none; }}
.hg .plain {{ fill: currentColor; fill-opacity: .07; stroke: currentColor; stroke-opacity: .45; }}
.hg .node {{ fill: currentColor; fill-opacity: .04; stroke: currentColor; stroke-width: 1.6; }}
.hg .ring {{ fill: none; stroke: currentColor; stroke-width: 2.2; }}
.hg .none {{ fill: none; stroke-dasharray: 2 4; }}
"""
_ALONE = """
svg.hg { color: #1c2430; background: #ffffff; }
@media (prefers-color-scheme: dark) { svg.hg { color: #e6e9ee; background: #14171c; } }
"""


def draw_genotype(
    genotype: Genotype,
    *,
    title: str = 'Genotype',
    alone: bool = False,
    ringed: Collection[tuple[int, int]] = (),
) -> str:
    """Draw a genotype.

    Args:
        genotype: any number of groups.
        title: what a screen reader announces.
        alone: the text of a ``.svg`` file, with its own background, instead of an element for an HTML page.
        ringed: edges (source, target) to stand out.

    Returns:
        Well-formed SVG. It has no ``id``, so any number can share a page.
    """
    plan = layout(genotype)
    return _document(plan.width, plan.height, title, describe(genotype), _body(plan, ringed), alone)


def draw_comparison(genotypes: Mapping[str, Genotype]) -> str:
    """The text of a ``.svg`` file: genotypes side by side, each under its name, ringed the edges that differ."""
    ringed = differing_edges(list(genotypes.values()))
    x = height = 0.0
    parts, descriptions = [], []
    for name, genotype in genotypes.items():
        plan = layout(genotype)
        heading = f'<text class="strong" x="{plan.width / 2:g}" y="20">{escape(name)}</text>\n'
        drawing = f'<g transform="translate(0 {TITLE_HEIGHT:g})">\n{_body(plan, ringed)}</g>\n'
        parts.append(f'<g transform="translate({x:g} 0)">\n{heading}{drawing}</g>\n')
        descriptions.append(f'{name}: {describe(genotype)}')
        x, height = x + plan.width, max(height, TITLE_HEIGHT + plan.height)
    note = difference_note(list(genotypes.values()))
    parts.append(f'<text class="small start" x="8" y="{height + 12:g}">{escape(note)}</text>\n')
    title = f'Genotypes {" and ".join(genotypes)}'
    return _document(x, height + TITLE_HEIGHT, title, ' '.join(descriptions), ''.join(parts), alone=True)


def differing_edges(genotypes: Sequence[Genotype]) -> set[tuple[int, int]]:
    """Edges (source, target) that not all genotypes have, or not with the same operation."""
    tables = [{edge: genotype.operation(*edge) for edge in edge_list(genotype.num_groups)} for genotype in genotypes]
    return {edge for table in tables for edge in table if len({other.get(edge) for other in tables}) > 1}


def difference_note(genotypes: Sequence[Genotype]) -> str:
    """In words, which rings there are."""
    count = len(differing_edges(genotypes))
    edges = max(len(edge_list(genotype.num_groups)) for genotype in genotypes)
    return f'Ringed: the edges that differ, {count} of {edges}.' if count else 'All edges are the same.'


def _document(width: float, height: float, title: str, description: str, body: str, alone: bool) -> str:
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    # On a narrow page it shrinks to where the labels are still read, and scrolls from there on.
    shrink = '' if alone else f' style="min-width:{width * 0.74:.0f}px"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="hg" role="img" {size}{shrink} '
        f'aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n'
        f'<desc>{escape(description)}</desc>\n<style>{_STYLE}{_ALONE if alone else ""}</style>\n{body}</svg>\n'
    )


def _body(plan: Layout, ringed: Collection[tuple[int, int]]) -> str:
    names = {operation_name(*edge) for edge in ringed}
    rings = ''.join(_ring(box) for box in plan.boxes if box.name in names)
    return _wires(plan) + ''.join(map(_box, plan.boxes)) + rings


def _ring(box: Box) -> str:
    x, y, width, height = ring(box)
    return f'<rect class="ring" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10"/>\n'


def ring(box: Box) -> tuple[float, float, float, float]:
    """x, y, width, height of what is drawn around a box to make it stand out."""
    return box.x - 3.5, box.y - 3.5, box.width + 7, box.height + 7


def describe(genotype: Genotype) -> str:
    """The genotype in words, for those who cannot see the drawing."""
    rows = []
    for k, row in enumerate(genotype.edges):
        terms = ', '.join(f'{style(name).label} ({edge_label(j, k)})' for j, name in enumerate(row))
        rows.append(f'U{k}: {terms}')
    return '; '.join(rows) + '.'


def _wires(plan: Layout) -> str:
    # One path for all: where wires share a stretch, separate strokes would add up to a thicker line.
    paths = []
    for dotted in (False, True):
        data = ''.join(_path(wire) for wire in plan.wires if wire.dotted is dotted)
        paths.append(f'<path class="{"dotted" if dotted else "solid"}" d="{data}"/>' if data else '')
    heads = f'<path class="head" d="{"".join(map(_triangle, plan.wires))}"/>'
    return f'<g class="wires">{"".join(paths)}{heads}</g>\n'


def _path(wire: Wire) -> str:
    pieces = ''.join('LQ'[len(piece) - 1] + _numbers(piece) for piece in wire.rounded())
    return f'M{_numbers(wire.points[:1])}{pieces}'


def _triangle(wire: Wire) -> str:
    return 'M{}L{}L{}Z'.format(*(_numbers((point,)) for point in wire.head()))


def _numbers(points: tuple[Point, ...]) -> str:
    return ' '.join(f'{x:g} {y:g}' for x, y in points)


def _box(box: Box) -> str:
    draw = _legend_entry if box.kind == 'legend' else _shape
    hint = f'<title>{escape(box.hint)}</title>' if box.hint else ''
    return f'<g data-box="{escape(box.name)}">{hint}{draw(box)}</g>\n'


def _shape(box: Box) -> str:
    x, y = box.centre
    if box.kind in ('node', 'sum'):
        name = 'node' if box.kind == 'node' else 'plain'
        shape = f'<circle class="{name}" cx="{x:g}" cy="{y:g}" r="{box.width / 2:g}"/>'
    else:
        radius = 7 if box.kind == 'operation' else 4
        shape = (
            f'<rect {_paint(box.family)} x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" '
            f'height="{box.height:g}" rx="{radius}"/>'
        )
    return shape + _text(box)


def _paint(family: str | None) -> str:
    if family is None:
        return 'class="plain"'
    colour = FAMILIES[family].colour
    if family == 'none':
        return f'class="none" stroke="{colour}"'
    return f'fill="{colour}" fill-opacity=".17" stroke="{colour}" stroke-width="1.3"'


def _text(box: Box) -> str:
    x, y = box.centre
    strong = 'strong' if box.kind in ('group', 'node', 'operation') else ''
    if len(box.lines) == 1:
        return f'<text class="{strong}" x="{x:g}" y="{y + 4.2:g}">{escape(box.lines[0])}</text>'
    first, second = box.lines
    return (
        f'<text class="{strong}" x="{x:g}" y="{y - 2.4:g}">{escape(first)}'
        f'<tspan class="small" font-weight="400" x="{x:g}" dy="13">{escape(second)}</tspan></text>'
    )


def _legend_entry(box: Box) -> str:
    y = box.centre[1]
    return (
        f'<rect {_paint(box.family)} x="{box.x + 1:g}" y="{y - 6:g}" width="12" height="12" rx="3"/>'
        f'<text class="small start" x="{box.x + 18:g}" y="{y + 4:g}">{escape(box.lines[0])}</text>'
    )
