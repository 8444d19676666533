"""Labels and colours of operations, shared by every drawing, plot and page.

The colours are mid-tones that stand out on white and on near-black alike. Colour is never the only distinction:
drawings show the name, and lines differ in their dashes as well.
"""

from __future__ import annotations

from typing import NamedTuple

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
