"""Regular expressions for the names of modules: places that differ only in numbers as one row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mmhoga.insertion.places import Place

_NUMBER = re.compile(r'(?<![^.])\d+(?![^.])')  # a whole part of a dotted name


def fold(places: Sequence[Place], names: Iterable[str] = ()) -> list[tuple[str, list[Place]]]:
    """Places as ``(pattern, places)``, in their order. The pattern matches the names of these places and no other.

    Places are in one row if their names differ only in parts that are numbers, and all else is the same: class, layout,
    channels, size and problem. ``layer1.0.conv2`` and ``layer1.1.conv2`` become ``layer1\\.\\d+\\.conv2``.

    Args:
        places: what goes into rows.
        names: of other modules, which a pattern must not match either.
    """
    groups: dict[tuple[object, ...], list[Place]] = {}
    for place in places:
        same = (_NUMBER.sub('0', place.name), place.kind, place.layout, place.channels, place.size, place.problem)
        groups.setdefault(same, []).append(place)
    every = {place.name for place in places}.union(names)
    return [row for group in groups.values() for row in _rows(group, every)]


def _rows(group: Sequence[Place], names: Iterable[str]) -> list[tuple[str, list[Place]]]:
    """The group as one row, or as several where one pattern would match other names as well."""
    wanted = {place.name for place in group}
    columns = [list(dict.fromkeys(column)) for column in zip(*(place.name.split('.') for place in group))]
    choices = [re.escape(values[0]) if len(values) == 1 else _any_of(values) for values in columns]
    first = next((index for index, values in enumerate(columns) if len(values) > 1), None)
    if first is not None and not _matches_only(wanted, choices, names):
        parts = [[place for place in group if place.name.split('.')[first] == value] for value in columns[first]]
        return [row for part in parts for row in _rows(part, names)]
    for index, values in enumerate(columns):
        for short in (r'\d+', r'[1-9]\d*') if len(values) > 1 else ():
            shorter = [*choices[:index], short, *choices[index + 1 :]]
            if _matches_only(wanted, shorter, names):
                choices = shorter
                break
    return [(r'\.'.join(choices), list(group))]


def _any_of(numbers: Sequence[str]) -> str:
    values = sorted(map(int, numbers))
    if values[-1] < 10 and len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f'[{values[0]}-{values[-1]}]'
    return f'[{"".join(map(str, values))}]' if values[-1] < 10 else f'(?:{"|".join(map(str, values))})'


def _matches_only(wanted: set[str], choices: Sequence[str], names: Iterable[str]) -> bool:
    pattern = re.compile(r'\.'.join(choices))
    return {name for name in names if pattern.fullmatch(name)} == wanted


def below(prefix: str, pattern: str, names: Iterable[str]) -> str | None:
    """A pattern for the names below a module that matches the same ones as ``pattern`` does for the whole network.

    >>> below('backbone', r'backbone\\.layer1\\.\\d', ['backbone.layer1.0', 'neck.0'])
    'layer1\\\\.\\\\d'

    Returns:
        None if ``pattern`` also matches names elsewhere, or if leaving out the prefix changes what it matches.
    """
    names = list(names)
    matched = {name for name in names if re.fullmatch(pattern, name)}
    start = f'{prefix}.'
    for written in (re.escape(start), start):
        shorter = pattern.replace(written, '')
        try:
            found = {name for name in names if name.startswith(start) and re.fullmatch(shorter, name[len(start) :])}
        except re.error:
            continue
        if found == matched:
            return shorter
    return None
