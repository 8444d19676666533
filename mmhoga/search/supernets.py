"""The model of a training as that of a search: its HOGA cells become supernets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmhoga.genotype import Genotype


def with_supernets(
    model: Mapping[str, Any], *, num_groups: int | None = None, primitives: Sequence[str] | None = None
) -> Any:
    """A copy of a model's config with a supernet in place of each HOGA cell, in plugins and in ``mmhoga.Insert``.

    A supernet keeps the settings of the cell (``summary``, reductions, ``start``, ``postfix``). The genotype is left
    out, and its K becomes ``num_groups``. A model that has supernets already keeps its HOGA cells.

    >>> with_supernets(dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'))])))
    {'backbone': {'plugins': [{'cfg': {'type': 'mmhoga.SearchableHOGA', 'num_groups': 4}}]}}

    Args:
        model: the config, or a part of it. Mappings of the copy have the same class.
        num_groups: K of all supernets, also of those that ``model`` has already.
        primitives: the candidates of all supernets; by default those of :class:`mmhoga.models.SearchableHOGA`.

    Raises:
        ValueError: the genotype of a cell cannot be read, and ``num_groups`` is not given.
    """
    searched = 'SearchableHOGA' if has_cells(model, 'SearchableHOGA') else 'HOGA'

    def supernet(cell: Mapping[str, Any]) -> dict[str, Any]:
        settings = {key: value for key, value in cell.items() if key != 'genotype'}
        settings['type'] = 'mmhoga.SearchableHOGA'
        if num_groups is not None:
            settings['num_groups'] = num_groups
        elif searched == 'HOGA':
            settings['num_groups'] = _groups(cell.get('genotype', 'autola'))
        if primitives is not None:
            settings['primitives'] = list(primitives)
        return settings

    return mapped(model, lambda node: is_of_kind(node, searched), supernet)


def with_genotype(model: Mapping[str, Any], genotype: Genotype) -> Any:
    """A copy of a model's config whose HOGA cells all have this genotype, as explicit rows."""
    rows = [list(row) for row in genotype.edges]
    return mapped(model, lambda node: is_of_kind(node, 'HOGA'), lambda cell: {**cell, 'genotype': rows})


def has_cells(node: Any, kind: str = 'HOGA') -> bool:
    """Whether a part of a config has a cell of this class of mmhoga."""
    return any(is_of_kind(each, kind) for each in dicts_in(node))


def is_of_kind(node: Any, kind: str) -> bool:
    """Whether ``node`` is the config of this class of mmhoga, named with or without prefix, or given as a class."""
    found = node.get('type') if isinstance(node, Mapping) else None
    if isinstance(found, str):
        return found in (kind, f'mmhoga.{kind}')
    return getattr(found, '__name__', '') == kind and getattr(found, '__module__', '').startswith('mmhoga.')


def dicts_in(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every dict in a part of a config."""
    if isinstance(node, Mapping):
        yield node
    if isinstance(node, (Mapping, list, tuple)):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from dicts_in(value)


def mapped(node: Any, where: Callable[[Mapping[str, Any]], bool], change: Callable[[Any], dict[str, Any]]) -> Any:
    """A copy of a part of a config in which the outermost dicts of which ``where`` is true are changed."""
    if isinstance(node, (list, tuple)):
        return type(node)(mapped(item, where, change) for item in node)
    if not isinstance(node, Mapping):
        return node
    make: Any = type(node)
    return make(change(node) if where(node) else {key: mapped(value, where, change) for key, value in node.items()})


def _groups(genotype: Any) -> int:
    try:
        return Genotype.from_config(genotype).num_groups
    except (ValueError, OSError) as error:
        raise ValueError(
            f'The number of groups K of a HOGA cell is that of its genotype, which cannot be read: {error} '
            'Set num_groups, in mmhoga.SearchModel or as --num-groups.'
        ) from error
