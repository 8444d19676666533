"""Positions of all shapes in a genotype's drawing: pure geometry, in pixels, with y pointing down.

The graph is a staircase. Column k holds the terms of U_k (Eq. 2): F_k enters at the top, U_k ends the column, and the
operations of the edges U_j -> U_k stand to its left, one per row. Row j is what leaves U_j. Wires run only along rows
and columns, turn at most once, and join where terms are added, so no wire passes under an operation, whatever the
number of groups. The tail of Eq. (3) is below the staircase.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmhoga.figures.palette import FAMILIES, TIMES, edge_label, style, subscript
from mmhoga.genotype import Genotype, edge_list, edge_name

FONT_SIZE = 12.0
#: Average glyph width over font size. Generous, so that a wide font still fits its box.
GLYPH = 0.62

_MARGIN = 8.0
_CHIP_HEIGHT = 34.0
_NODE = 30.0  # diameter
_ROW = 66.0  # from one U to the next
_BAR = 28.0  # height of the tail's boxes
_GAP = 16.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A labelled shape. ``kind`` is group, node, operation, sum, tail or legend; ``hint`` is shown on hovering."""

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
    """An arrow from the rim of one box to the rim of another.

    ``points`` are joined by horizontal and vertical pieces.
    """

    source: str
    target: str
    points: tuple[Point, ...]
    dotted: bool = False


@dataclass(frozen=True)
class Layout:
    """The whole drawing."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]


def text_width(text: str, font_size: float = FONT_SIZE) -> float:
    """An upper estimate, because the reader's font is unknown."""
    return len(text) * font_size * GLYPH


def layout(genotype: Genotype) -> Layout:
    """Place every box and wire of a genotype with any number of groups."""
    return _Builder(genotype).build()


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
            x = self._x(k)
            self._add(f'F{k}', 'group', f'F{subscript(k)}', (x, _MARGIN + 13), (self.chip, 26), hint=f'input group {k}')
            self._add(f'U{k}', 'node', f'U{subscript(k)}', (x, self._y(k)), (_NODE, _NODE))
        for j, k in edge_list(self.k):
            self._edge(j, k)
        bottom = self._legend(self._output(self._summary()))
        return Layout(self.width, bottom + _MARGIN, tuple(self.boxes.values()), tuple(self.wires))

    def _x(self, column: int) -> float:
        return self.left + column * self.column

    def _y(self, row: int) -> float:
        return self.first_row + row * _ROW

    def _add(self, name: str, kind: str, text: str | tuple[str, ...], centre: Point, size: Point, **kwargs) -> Box:
        (x, y), (width, height) = centre, size
        lines = (text,) if isinstance(text, str) else text
        self.boxes[name] = Box(name, kind, lines, x - width / 2, y - height / 2, width, height, **kwargs)
        return self.boxes[name]

    def _down(self, upper: str, lower: str, *, dotted: bool = False) -> None:
        top, bottom = self.boxes[upper], self.boxes[lower]
        x = top.centre[0]
        self.wires.append(Wire(upper, lower, ((x, top.y + top.height), (x, bottom.y)), dotted))

    def _edge(self, j: int, k: int) -> None:
        name, node = edge_name(j, k), self.boxes[f'U{k}']
        operation = self.genotype.operation(j, k)
        look = style(operation)
        if j == k:
            centre = (self._x(k), _MARGIN + 26 + _GAP + _CHIP_HEIGHT / 2)
        else:
            centre = (self._x(k - 1) + 12 + self.chip / 2, self._y(j) + _ROW / 2)
        hint = f'{edge_label(j, k)}: {operation}'
        size = (self.chip, _CHIP_HEIGHT)
        chip = self._add(name, 'operation', look.lines, centre, size, family=look.family, hint=hint)
        dotted = operation == 'none'
        if j == k:
            self._down(f'F{k}', name, dotted=dotted)
            self._down(name, node.name, dotted=dotted)
            return
        row, (x, middle) = self._y(j), chip.centre
        leave = ((self._x(j) + _NODE / 2, row), (x, row), (x, chip.y))
        join = ((chip.x + chip.width, middle), (self._x(k), middle), (self._x(k), node.y))
        self.wires += [Wire(f'U{j}', name, leave, dotted), Wire(name, node.name, join, dotted)]

    def _summary(self) -> Box:
        """The nodes' sum, its channel attention, and the concatenation with the nodes."""
        end = self._x(self.k)
        collector = self._y(self.k - 1) + _NODE / 2 + 26
        self._add('sum', 'sum', 'Σ', (end, collector), (24, 24), hint='sum of the nodes')
        centre, size = (end, collector + 24 + _BAR / 2), (self.chip * 0.7, _BAR)
        hint = 'channel attention on the summary'
        squeeze = self._add('summary', 'tail', 'SE', centre, size, family='channel', hint=hint)
        text = 'concat [' + '; '.join(f'U{subscript(k)}' for k in range(self.k)) + '; Ū]'
        y = squeeze.y + _BAR + _GAP + _BAR / 2
        concat = self._add('concat', 'tail', text, (self.width / 2, y), (self.width - 2 * _MARGIN, _BAR))
        for k in range(self.k):
            x, start = self._x(k), self._y(k) + _NODE / 2
            self.wires.append(Wire(f'U{k}', 'sum', ((x, start), (x, collector), (end - 12, collector))))
            self.wires.append(Wire(f'U{k}', 'concat', ((x, start), (x, concat.y))))
        self._down('sum', 'summary')
        self._down('summary', 'concat')
        return concat

    def _output(self, concat: Box) -> float:
        """From the concatenation to the output, along one row. Returns its bottom."""
        parts = [
            ('convs', 'tail', f'1{TIMES}1 convs', 84.0, None, 'two, with batch norm; ReLU between'),
            ('residual', 'sum', '+F', 30.0, None, 'the input is added'),
            ('output', 'tail', 'channel attention', 142.0, 'channel', 'SE on the output'),
            ('result', 'group', 'Û', 36.0, None, 'the output'),
        ]
        total = sum(part[3] for part in parts) + 3 * _GAP
        x, y = (self.width - total) / 2, concat.y + _BAR + _GAP + 2 + _BAR / 2
        previous = ''
        for name, kind, text, width, family, hint in parts:
            height = width if kind == 'sum' else _BAR
            box = self._add(name, kind, text, (x + width / 2, y), (width, height), family=family, hint=hint)
            if previous:
                self.wires.append(Wire(previous, name, ((x - _GAP, y), (x, y))))
            else:
                middle = box.centre[0]
                self.wires.append(Wire('concat', name, ((middle, concat.y + _BAR), (middle, box.y))))
            previous = name
            x += width + _GAP
        return y + 15

    def _legend(self, top: float) -> float:
        """One entry per family in the drawing, in as many rows as needed. Returns the bottom."""
        present = {box.family for box in self.boxes.values()}
        x, y = _MARGIN, top + 26
        for family, entry in FAMILIES.items():
            if family not in present:
                continue
            width = 18 + text_width(entry.title, 11)
            if x > _MARGIN and x + width > self.width - _MARGIN:
                x, y = _MARGIN, y + 20
            self._add(f'legend_{family}', 'legend', entry.title, (x + width / 2, y), (width, 16), family=family)
            x += width + 12
        return y + 8
