"""From the plugins of a search to those of the training that follows it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmhoga.genotype import Genotype

_SEARCH_ONLY = ('num_groups', 'primitives')


def derived_plugins(plugins: Sequence[Mapping[str, Any]], genotypes: Mapping[str, Genotype]) -> list[dict[str, Any]]:
    """The ``plugins`` of a searched backbone with every supernet replaced by what was found, genotypes written out.

    Args:
        plugins: of the backbone that was searched.
        genotypes: one under the empty name, for all stages; or one a stage, whose names end in the number of the
            stage, from 1 on (``layer1``, ...): then a supernet becomes a plugin a stage.

    Raises:
        ValueError: the name of a stage that does not end in a number.
    """
    derived: list[dict[str, Any]] = []
    numbers = {stage: _number(stage) for stage in genotypes if stage}
    for plugin in plugins:
        if not _is_supernet(plugin.get('cfg')):
            derived.append(dict(plugin))
            continue
        kept = {key: value for key, value in plugin['cfg'].items() if key not in _SEARCH_ONLY}
        stages = plugin.get('stages') or (True,) * max(numbers.values(), default=0)
        for stage, genotype in genotypes.items():
            cfg = {**kept, 'type': 'mmhoga.HOGA', 'genotype': [list(row) for row in genotype.edges]}
            entry = {**plugin, 'cfg': cfg}
            if stage:
                if numbers[stage] > len(stages) or not stages[numbers[stage] - 1]:
                    continue
                entry['stages'] = tuple(number == numbers[stage] for number in range(1, len(stages) + 1))
            derived.append(entry)
    return derived


def plugins_file(model: Mapping[str, Any], genotypes: Mapping[str, Genotype], imports: Mapping[str, Any] | None) -> str:
    """The text of a config with the plugins to train, or nothing where ``model`` has none that were searched.

    Args:
        model: the search's ``model``.
        genotypes: as in :func:`derived_plugins`.
        imports: the search's ``custom_imports``, if it has any: own primitives may need them.
    """
    found = list(_searched(model))
    if len(found) != 1 or any(stage and not re.search(r'\d$', stage) for stage in genotypes):
        return ''
    content: dict[str, Any] = {'plugins': derived_plugins(found[0], genotypes)}
    if imports:
        content['custom_imports'] = dict(imports)
    head = (
        "# What a search found, for a backbone: _base_ = [..., 'THIS FILE'] and\n"
        '# model = dict(backbone=dict(plugins={{_base_.plugins}})).\n'
    )
    return head + Config(content).pretty_text


def _searched(node: Any) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Every ``plugins`` list in a config that holds a supernet."""
    if isinstance(node, Mapping):
        plugins = node.get('plugins')
        if isinstance(plugins, (list, tuple)) and any(_is_supernet(plugin.get('cfg')) for plugin in plugins):
            yield plugins
        for value in node.values():
            yield from _searched(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _searched(value)


def _is_supernet(cfg: Any) -> bool:
    return isinstance(cfg, Mapping) and str(cfg.get('type', '')).rpartition('.')[2] == 'SearchableHOGA'


def _number(stage: str) -> int:
    match = re.search(r'(\d+)$', stage)
    if match is None:
        raise ValueError(f'The stage {stage!r} has no number at its end: which entry of plugins.stages is it?')
    return int(match[1])
