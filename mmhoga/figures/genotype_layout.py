"""Where everything in the drawing of a genotype stands: pure geometry, in pixels, y downwards.

The graph is a staircase. Column k holds what is added up in U_k (Eq. 2): F_k enters at the top, U_k ends the column,
and to the left of it stands, one below the other, the operation of every edge U_j -> U_k. Row j is what leaves U_j.
Lines run along rows and down columns only, turn left or right where an edge takes off, and join where terms are added;
so no line passes under an operation, however many groups there are. Below the staircase is the tail of Eq. (3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmhoga.figures.palette import FAMILIES, TIMES, edge_label, style, subscript
from mmhoga.genotype import Genotype, edge_name

FONT_SIZE = 12.0
#: Width of an average glyph over the font size; generous, so that a wide font still fits its box.
GLYPH = 0.62

_MARGIN = 8.0
_CHIP_HEIGHT = 34.0
_NODE = 30.0  # diameter
_ROW = 66.0  # from one U to the next
_BAR = 28.0  # height of the boxes of the tail
_GAP = 16.0
_RADIUS = 9.0  # of a wire's corners
_ARROW = 5.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """One labelled shape. ``kind``: group, node, operation, sum, tail or legend."""

    name: str
    kind: str
    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float
    family: str | None = None
    hint: str = ''

    @property
    def centre(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class Wire:
    """A polyline of horizontal and vertical pieces from the rim of one box to the rim of another."""

    source: str
    target: str
    points: tuple[Point, ...]
    dotted: bool = False

    def rounded(self) -> list[tuple[Point, ...]]:
        """Its pieces after the start: ``(end,)`` of a straight one, ``(control, end)`` of a round corner."""
        pieces: list[tuple[Point, ...]] = []
        for before, corner, after in zip(self.points, self.points[1:], self.points[2:]):
            pieces += [(_near(corner, before),), (corner, _near(corner, after))]
        return [*pieces, (self.points[-1],)]

    def head(self) -> tuple[Point, Point, Point]:
        """The triangle of the arrow at its end, tip first."""
        (ax, ay), (x, y) = self.points[-2:]
        scale = _ARROW / math.dist((ax, ay), (x, y))
        dx, dy = (x - ax) * scale, (y - ay) * scale
        return ((x, y), (x - dx - dy * 0.7, y - dy + dx * 0.7), (x - dx + dy * 0.7, y - dy - dx * 0.7))


@dataclass(frozen=True)
class Layout:
    """The whole drawing."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]


def text_width(text: str, font_size: float = FONT_SIZE) -> float:
    """An upper estimate; no font is at hand when an SVG is written."""
    return len(text) * font_size * GLYPH


def operation_name(source: int, target: int) -> str:
    """The box of the edge (source, target)."""
    return edge_name(source, target)


def layout(genotype: Genotype) -> Layout:
    """Place every box and wire of a genotype with any number of groups."""
    return _Builder(genotype).build()


def _near(corner: Point, other: Point) -> Point:
    """The point where a corner begins to round off in the direction of ``other``."""
    share = min(_RADIUS / math.dist(corner, other), 0.5)
    return corner[0] + (other[0] - corner[0]) * share, corner[1] + (other[1] - corner[1]) * share


class _Builder:
    def __init__(self, genotype: Genotype) -> None:
        self.genotype = genotype
        self.k = genotype.num_groups
        labels = [line for row in genotype.edges for name in row for line in style(name).lines]
        self.chip = max(66.0, *(text_width(line) + 14 for line in labels))
        self.column = self.chip + 34.0
        self.boxes: dict[str, Box] = {}
        self.wires: list[Wire] = []
        stairs = 2 * _MARGIN + self.chip + self.k * self.column
        self.width = max(stairs, 360.0)
        self.left = (self.width - stairs) / 2 + _MARGIN + self.chip / 2
        self.first_row = _MARGIN + 26 + _GAP + _CHIP_HEIGHT + 20 + _NODE / 2

    def build(self) -> Layout:
        for k in range(self.k):
            self._column(k)
        for k in range(self.k):
            self._edges_into(k)
        bottom = self._legend(self._tail())
        return Layout(self.width, bottom + _MARGIN, tuple(self.boxes.values()), tuple(self.wires))

    def _x(self, column: int) -> float:
        return self.left + column * self.column

    def _y(self, row: int) -> float:
        return self.first_row + row * _ROW

    def _add(self, name: str, kind: str, text: tuple[str, ...], centre: Point, size: Point, **kwargs) -> Box:
        (x, y), (width, height) = centre, size
        box = Box(name, kind, text, x - width / 2, y - height / 2, width, height, **kwargs)
        self.boxes[name] = box
        return box

    def _chip(self, j: int, k: int, centre: Point) -> Box:
        operation = self.genotype.edges[k][j]
        look = style(operation)
        return self._add(
            operation_name(j, k),
            'operation',
            look.lines,
            centre,
            (self.chip, _CHIP_HEIGHT),
            family=look.family,
            hint=f'{edge_label(j, k)}: {operation}',
        )

    def _column(self, k: int) -> None:
        x = self._x(k)
        y = _MARGIN + 13
        group = self._add(
            f'F{k}', 'group', (f'F{subscript(k)}',), (x, y), (self.chip, 26), hint=f'channel group {k} of the input'
        )
        chip = self._chip(k, k, (x, y + 13 + _GAP + _CHIP_HEIGHT / 2))
        self._add(f'U{k}', 'node', (f'U{subscript(k)}',), (x, self._y(k)), (_NODE, _NODE))
        dotted = self.genotype.edges[k][k] == 'none'
        self._down(group, chip, dotted=dotted)
        self._down(chip, self.boxes[f'U{k}'], dotted=dotted)

    def _edges_into(self, k: int) -> None:
        node = self.boxes[f'U{k}']
        for j in range(k):
            source = self.boxes[f'U{j}']
            row = self._y(j)
            chip = self._chip(j, k, (self._x(k - 1) + 12 + self.chip / 2, row + _ROW / 2))
            dotted = self.genotype.edges[k][j] == 'none'
            x, middle = chip.centre
            take_off = ((source.x + _NODE, row), (x, row), (x, chip.y))
            join = ((chip.x + chip.width, middle), (self._x(k), middle), (self._x(k), node.y))
            self.wires += [
                Wire(source.name, chip.name, take_off, dotted),
                Wire(chip.name, node.name, join, dotted),
            ]

    def _tail(self) -> float:
        """Concatenation, summary, 1x1 convolutions, channel attention; returns the bottom."""
        end = self._x(self.k)
        collector = self._y(self.k - 1) + _NODE / 2 + 26
        total = self._add('sum', 'sum', ('Σ',), (end, collector), (24, 24), hint='sum of the nodes')
        squeeze = self._add(
            'summary',
            'tail',
            ('SE',),
            (end, collector + 12 + 12 + _BAR / 2),
            (self.chip * 0.7, _BAR),
            family='channel',
            hint='channel attention on the summary',
        )
        top = squeeze.y + _BAR + _GAP
        text = 'concat [' + '; '.join(f'U{subscript(k)}' for k in range(self.k)) + '; Ū]'
        concat = self._add(
            'concat', 'tail', (text,), (self.width / 2, top + _BAR / 2), (self.width - 2 * _MARGIN, _BAR)
        )
        for k in range(self.k):
            node = self.boxes[f'U{k}']
            x, start = self._x(k), node.y + _NODE
            self.wires.append(Wire(node.name, 'sum', ((x, start), (x, collector), (total.x, collector))))
            self.wires.append(Wire(node.name, 'concat', ((x, start), (x, concat.y))))
        self._down(total, squeeze)
        self._down(squeeze, concat)
        return self._chain(concat)

    def _chain(self, concat: Box) -> float:
        parts = [
            ('convs', 'tail', f'1{TIMES}1 convs', 84.0, None, 'two, with batch norm; ReLU between'),
            ('residual', 'sum', '+F', 30.0, None, 'the input is added'),
            ('output', 'tail', 'channel attention', 142.0, 'channel', 'SE on the output'),
            ('result', 'group', 'Û', 36.0, None, 'the output'),
        ]
        total = sum(part[3] for part in parts) + 3 * _GAP
        x, y = (self.width - total) / 2, concat.y + _BAR + _GAP + 2 + _BAR / 2
        previous: Box | None = None
        for name, kind, text, width, family, hint in parts:
            height = 30.0 if kind == 'sum' else _BAR
            box = self._add(name, kind, (text,), (x + width / 2, y), (width, height), family=family, hint=hint)
            if previous is None:
                self.wires.append(Wire('concat', name, ((box.centre[0], concat.y + _BAR), (box.centre[0], box.y))))
            else:
                self.wires.append(Wire(previous.name, name, ((x - _GAP, y), (x, y))))
            previous = box
            x += width + _GAP
        return y + 15

    def _legend(self, top: float) -> float:
        """One entry for each family that the drawing shows, in as many rows as needed."""
        present = {box.family for box in self.boxes.values()}
        x, y = _MARGIN, top + 26
        for family, entry in FAMILIES.items():
            if family not in present:
                continue
            width = 18 + text_width(entry.title, 11)
            if x > _MARGIN and x + width > self.width - _MARGIN:
                x, y = _MARGIN, y + 20
            self._add(f'legend_{family}', 'legend', (entry.title,), (x + width / 2, y), (width, 16), family=family)
            x += width + 12
        return y + 8

    def _down(self, upper: Box, lower: Box, *, dotted: bool = False) -> None:
        x = upper.centre[0]
        points = ((x, upper.y + upper.height), (x, lower.y))
        self.wires.append(Wire(upper.name, lower.name, points, dotted))
