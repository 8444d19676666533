"""Positions of all shapes in a genotype's drawing: pure geometry, in pixels, with y pointing down.

The graph is a staircase. Column k holds the terms of U_k (Eq. 2): F_k enters at the top, U_k ends the column, and the
operations of the edges U_j -> U_k stand to its left, one per row. Row j is what leaves U_j. Wires run only along rows
and columns, turn at most once, and join where terms are added, so no wire passes under an operation, whatever the
number of groups. The tail of Eq. (3) is below the staircase.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mmhoga.figures.styles import FAMILIES, TIMES, edge_label, style, subscript
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
    centre: Point
    width: float
    height: float
    family: str | None = None
    hint: str = ''

    @property
    def x(self) -> float:
        return self.centre[0] - self.width / 2

    @property
    def y(self) -> float:
        return self.centre[1] - self.height / 2


class Wire(NamedTuple):
    """An arrow from the rim of one box to the rim of another. Horizontal and vertical pieces join its points."""

    source: str
    target: str
    points: tuple[Point, ...]
    dotted: bool


def text_width(text: str, font_size: float = FONT_SIZE) -> float:
    """An upper estimate, because the reader's font is unknown."""
    return len(text) * font_size * GLYPH


class Layout:
    """Every box (by name) and wire of a genotype with any number of groups, and the size of the drawing."""

    def __init__(self, genotype: Genotype) -> None:
        groups = genotype.num_groups
        labels = [line for row in genotype.edges for name in row for line in style(name).lines]
        self._chip = max(66.0, *(text_width(line) + 14 for line in labels))
        column = self._chip + 34.0
        stairs = 2 * _MARGIN + self._chip + groups * column
        self.width = max(stairs, 360.0)
        left = (self.width - stairs) / 2 + _MARGIN + self._chip / 2
        first_row = _MARGIN + 26 + _GAP + _CHIP_HEIGHT + 20 + _NODE / 2
        # The column of each U_k, and of what follows them; the row of each U_k.
        self._columns = [left + k * column for k in range(groups + 1)]
        self._rows = [first_row + k * _ROW for k in range(groups)]
        self.boxes: dict[str, Box] = {}
        self.wires: list[Wire] = []
        for k, (x, y) in enumerate(zip(self._columns, self._rows)):
            self._add(f'F{k}', 'group', f'F{subscript(k)}', (x, _MARGIN + 13), self._chip, 26, hint=f'input group {k}')
            self._add(f'U{k}', 'node', f'U{subscript(k)}', (x, y), _NODE, _NODE)
        for j, k in edge_list(groups):
            self._add_edge(j, k, genotype.operation(j, k))
        self._add_summary(groups)
        self._add_output()
        self.height = self._add_legend() + _MARGIN

    def _add(self, name: str, kind: str, text: str, centre: Point, width: float, height: float, **look: str) -> None:
        self.boxes[name] = Box(name, kind, tuple(text.split('\n')), centre, width, height, **look)

    def _connect(self, source: str, target: str, route: str, *, dotted: bool = False) -> None:
        start, end = self.boxes[source], self.boxes[target]
        (left, top), (right, bottom) = start.centre, end.centre
        if route == 'down':
            x = left if start.width < end.width else right
            points: tuple[Point, ...] = (x, start.y + start.height), (x, end.y)
        elif route == 'right':
            points = (start.x + start.width, top), (end.x, bottom)
        elif route == 'down, right':
            points = (left, start.y + start.height), (left, bottom), (end.x, bottom)
        else:  # right, down
            points = (start.x + start.width, top), (right, top), (right, end.y)
        self.wires.append(Wire(source, target, points, dotted))

    def _add_edge(self, j: int, k: int, operation: str) -> None:
        name, look, dotted = edge_name(j, k), style(operation), operation == 'none'
        source, route = (f'F{k}', 'down') if j == k else (f'U{j}', 'right, down')
        centre = (self._columns[k], _MARGIN + 26 + _GAP + _CHIP_HEIGHT / 2)
        if j < k:
            centre = (self._columns[k - 1] + 12 + self._chip / 2, self._rows[j] + _ROW / 2)
        hint = f'{edge_label(j, k)}: {operation}'
        text = '\n'.join(look.lines)
        self._add(name, 'operation', text, centre, self._chip, _CHIP_HEIGHT, family=look.family, hint=hint)
        self._connect(source, name, route, dotted=dotted)
        self._connect(name, f'U{k}', route, dotted=dotted)

    def _add_summary(self, groups: int) -> None:
        """The nodes' sum, its channel attention, and the concatenation with the nodes."""
        x, y = self._columns[-1], self._rows[-1] + _NODE / 2 + 26
        self._add('sum', 'sum', 'Σ', (x, y), 24, 24, hint='sum of the nodes')
        y += 24 + _BAR / 2
        hint = 'channel attention on the summary'
        self._add('summary', 'tail', 'SE', (x, y), self._chip * 0.7, _BAR, family='channel', hint=hint)
        nodes = '; '.join(f'U{subscript(k)}' for k in range(groups))
        centre = (self.width / 2, y + _BAR + _GAP)
        self._add('concat', 'tail', f'concat [{nodes}; Ū]', centre, self.width - 2 * _MARGIN, _BAR)
        for k in range(groups):
            self._connect(f'U{k}', 'sum', 'down, right')
            self._connect(f'U{k}', 'concat', 'down')
        self._connect('sum', 'summary', 'down')
        self._connect('summary', 'concat', 'down')

    def _add_output(self) -> None:
        """From the concatenation to the output, along one row."""
        parts = [
            ('convs', 'tail', f'1{TIMES}1 convs', 84.0, 'two, with batch norm; ReLU between', {}),
            ('residual', 'sum', '+F', 30.0, 'the input is added', {}),
            ('output', 'tail', 'channel attention', 142.0, 'SE on the output', {'family': 'channel'}),
            ('result', 'group', 'Û', 36.0, 'the output', {}),
        ]
        x = (self.width - sum(part[3] for part in parts) - 3 * _GAP) / 2
        y = self.boxes['concat'].centre[1] + _BAR + _GAP + 2
        previous, route = 'concat', 'down'
        for name, kind, text, width, hint, look in parts:
            self._add(name, kind, text, (x + width / 2, y), width, 30.0 if kind == 'sum' else _BAR, hint=hint, **look)
            self._connect(previous, name, route)
            previous, route = name, 'right'
            x += width + _GAP

    def _add_legend(self) -> float:
        """One entry per family in the drawing, in as many rows as needed. Returns the bottom."""
        present = {box.family for box in self.boxes.values()}
        x, y = _MARGIN, self.boxes['result'].centre[1] + 41
        for family, entry in FAMILIES.items():
            if family not in present:
                continue
            width = 18 + text_width(entry.title, 11)
            if x > _MARGIN and x + width > self.width - _MARGIN:
                x, y = _MARGIN, y + 20
            self._add(f'legend_{family}', 'legend', entry.title, (x + width / 2, y), width, 16, family=family)
            x += width + 12
        return y + 8
