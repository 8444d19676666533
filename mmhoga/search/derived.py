"""The plugins of the derived network, from the plugins of the search and its genotypes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmhoga.genotype import Genotype

_HEADER = """\
# Plugins with the searched genotype. To train a backbone with them: _base_ = [..., 'THIS FILE'] and
# model = dict(backbone=dict(plugins={{_base_.plugins}})).
"""


def derived_plugins(plugins: Sequence[Mapping[str, Any]], genotypes: Mapping[str, Genotype]) -> list[dict[str, Any]]:
    """The ``plugins`` of a searched backbone, with its supernets replaced by HOGA cells with explicit genotypes.

    Args:
        plugins: of the backbone that was searched.
        genotypes: either one, under the empty name, for all stages; or one per stage, under names that end in the
            number of the stage (``layer1``, ...). Then each supernet becomes one plugin per stage.
    """
    derived: list[dict[str, Any]] = []
    numbers = {stage: int(re.findall(r'\d+$', stage)[0]) for stage in genotypes if stage}
    for plugin in plugins:
        if not _is_supernet(plugin.get('cfg')):
            derived.append(dict(plugin))
            continue
        settings = {key: value for key, value in plugin['cfg'].items() if key not in ('num_groups', 'primitives')}
        stages = plugin.get('stages') or (True,) * max(numbers.values(), default=0)
        for stage, genotype in genotypes.items():
            cfg = {**settings, 'type': 'mmhoga.HOGA', 'genotype': [list(row) for row in genotype.edges]}
            entry = {**plugin, 'cfg': cfg}
            if stage:
                if numbers[stage] > len(stages) or not stages[numbers[stage] - 1]:
                    continue
                entry['stages'] = tuple(number == numbers[stage] for number in range(1, len(stages) + 1))
            derived.append(entry)
    return derived


def plugins_file(model: Mapping[str, Any], genotypes: Mapping[str, Genotype], imports: Mapping[str, Any] | None) -> str:
    """A config with the plugins to train.

    Empty unless exactly one ``plugins`` list of ``model`` has supernets and the names of all stages end in a number.

    Args:
        model: the ``model`` of the search's config.
        genotypes: as in :func:`derived_plugins`.
        imports: the ``custom_imports`` of the search's config, which may register primitives.
    """
    lists = [node['plugins'] for node in dicts_in(model) if isinstance(node.get('plugins'), (list, tuple))]
    searched = [plugins for plugins in lists if any(_is_supernet(plugin.get('cfg')) for plugin in plugins)]
    if len(searched) != 1 or any(stage and not re.search(r'\d$', stage) for stage in genotypes):
        return ''
    content: dict[str, Any] = {'plugins': derived_plugins(searched[0], genotypes)}
    if imports:
        content['custom_imports'] = dict(imports)
    return _HEADER + Config(content).pretty_text


def dicts_in(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every dict in a part of a config."""
    if isinstance(node, Mapping):
        yield node
    if isinstance(node, (Mapping, list, tuple)):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from dicts_in(value)


def _is_supernet(cfg: Any) -> bool:
    return isinstance(cfg, Mapping) and str(cfg.get('type', '')).rpartition('.')[2] == 'SearchableHOGA'
