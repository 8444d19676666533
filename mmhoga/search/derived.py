"""The plugins, or the insertion, of the derived network, from the config of the search and its genotypes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from torch import nn

from mmhoga.genotype import Genotype
from mmhoga.insertion import cells_of
from mmhoga.search.supernets import dicts_in, is_of_kind, with_supernets

_PLUGINS = """\
# Plugins with the searched genotype. To train a backbone with them: _base_ = [..., 'THIS FILE'] and
# model = dict(backbone=dict(plugins={{_base_.plugins}})).
"""
_INSERTION = """\
# The insertion with the searched genotype. To train a network with it: _base_ = ['YOUR_CONFIG.py', 'THIS FILE'] and
# model = MODEL.
"""
# The settings of mmhoga.Insert; all others are those of the network.
_SETTINGS = ('type', 'into', 'cell', 'after', 'before', 'start', 'skip_indivisible', 'image_size', 'train_only')


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
        stages = plugin.get('stages') or (True,) * max(numbers.values(), default=0)
        for stage, genotype in genotypes.items():
            entry = {**plugin, 'cfg': _derived_cell(plugin['cfg'], genotype)}
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
    model = _with_supernets(model, genotypes)
    lists = [node['plugins'] for node in dicts_in(model) if isinstance(node.get('plugins'), (list, tuple))]
    searched = [plugins for plugins in lists if any(_is_supernet(plugin.get('cfg')) for plugin in plugins)]
    if len(searched) != 1 or any(stage and not re.search(r'\d$', stage) for stage in genotypes):
        return ''
    return _PLUGINS + _config('plugins', derived_plugins(searched[0], genotypes), imports)


def insertion_file(
    model: Mapping[str, Any], genotypes: Mapping[str, Genotype], network: nn.Module, imports: Mapping[str, Any] | None
) -> str:
    """A config with the insertion to train: the ``mmhoga.Insert`` of the search, with HOGA cells.

    With several genotypes, it is one insertion per stage, each into the result of the one before. Empty unless exactly
    one ``mmhoga.Insert`` of ``model`` has supernets, and that for the whole model or for one of its parts.

    Args:
        model: the ``model`` of the search's config.
        genotypes: by stage, as in :func:`derived_plugins`.
        network: the model that was searched, with its cells in the stages ``genotypes``: a SearchModel.
        imports: the ``custom_imports`` of the search's config, which may register primitives.
    """
    model = _with_supernets(model, genotypes)
    architecture = model.get('architecture')
    parts = {'': architecture, **architecture} if isinstance(architecture, Mapping) else {}
    searched = {name: part for name, part in parts.items() if _is_insertion(part)}
    if len(searched) != 1 or sum(_is_insertion(node) for node in dicts_in(model)) != 1:
        return ''
    ((part, config),) = searched.items()
    settings = {key: config[key] for key in _SETTINGS if key in config}
    derived: Any = settings['into']
    for stage, genotype in genotypes.items():
        derived = {**settings, 'into': derived, 'cell': _derived_cell(settings['cell'], genotype)}
        if stage:
            where = 'after' if 'after' in settings else 'before'
            derived[where] = '|'.join(map(re.escape, _places(network, stage, part)))
    value = '{{_base_.insertion}}'
    header = _INSERTION.replace('MODEL.', f'dict({part}={value}).' if part else f'{value}.')
    return header + _config('insertion', derived, imports)


def _with_supernets(model: Mapping[str, Any], genotypes: Mapping[str, Genotype]) -> Any:
    """The model of a search, which may be configured by HOGA cells. Of their genotypes not even K is read."""
    return with_supernets(model, num_groups=next(iter(genotypes.values())).num_groups)


def _is_supernet(cfg: Any) -> bool:
    return is_of_kind(cfg, 'SearchableHOGA')


def _is_insertion(cfg: Any) -> bool:
    return is_of_kind(cfg, 'Insert') and _is_supernet(cfg.get('cell'))


def _places(network: Any, stage: str, part: str) -> list[str]:
    """The modules of a part of the model at which the cells of a stage are."""
    cells = set(network.named_cells(stage).values())
    names = [name for name, cell in cells_of(network.architecture).items() if cell in cells]
    return [name.rpartition('.')[0][len(f'{part}.') if part else 0 :] for name in names]


def _derived_cell(supernet: Mapping[str, Any], genotype: Genotype) -> dict[str, Any]:
    settings = {key: value for key, value in supernet.items() if key not in ('num_groups', 'primitives')}
    return {**settings, 'type': 'mmhoga.HOGA', 'genotype': [list(row) for row in genotype.edges]}


def _config(name: str, value: Any, imports: Mapping[str, Any] | None) -> str:
    content = {name: value}
    if imports:
        content['custom_imports'] = dict(imports)
    return Config(content).pretty_text
