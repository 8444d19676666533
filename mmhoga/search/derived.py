"""The plugins, or the insertion, of the derived network, from the config of the search and its genotypes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhoga.genotype import Genotype
from mmhoga.insertion import cells_of
from mmhoga.search.supernets import dicts_in, has_cells, is_of_kind, mapped, with_genotype, with_supernets

_PLUGINS = """\
# Plugins with the searched genotype. To train a backbone with them: _base_ = [..., 'THIS FILE'] and
# model = dict(backbone=dict(plugins={{_base_.plugins}})).
"""
_BLOCKS = """\
# They name blocks, for the backbones of mmhoga. mmdet's ResNet needs its type changed to 'mmhoga.ResNet', which has the
# same arguments and keys.
"""
_INSERTION = """\
# The insertion with the searched genotype. To train a network with it: _base_ = ['YOUR_CONFIG.py', 'THIS FILE'] and
# model = MODEL.
"""
# The settings of mmhoga.Insert; all others are those of the network.
_SETTINGS = ('type', 'into', 'cell', 'after', 'before', 'start', 'skip_indivisible', 'image_size', 'train_only')


#: For each alpha by name, the blocks with a cell that uses it, and whether they keep it.
Blocks = Mapping[str, Mapping[str, bool]]


def derived_plugins(
    plugins: Sequence[Mapping[str, Any]], genotypes: Mapping[str, Genotype], blocks: Blocks | None = None
) -> list[dict[str, Any]]:
    """The ``plugins`` of a searched backbone, with its supernets replaced by HOGA cells with explicit genotypes.

    Args:
        plugins: of the backbone that was searched.
        genotypes: either one, under the empty name, for all stages; or one per stage, under names that end in the
            number of the stage (``layer1``, ...). Then each supernet becomes one plugin per stage.
        blocks: of a search with a placement, from :meth:`mmhoga.search.SearchModel.blocks`. Each plugin then names
            stages or, if a stage keeps only some of its cells, blocks, which the backbones of mmhoga understand.
    """
    derived: list[dict[str, Any]] = []
    for plugin in plugins:
        if not _is_supernet(plugin.get('cfg')):
            derived.append(dict(plugin))
            continue
        for stage, genotype in genotypes.items():
            entry = {**plugin, 'cfg': derived_cell(plugin['cfg'], genotype)}
            place = _in_stage(plugin, stage, list(genotypes)) if blocks is None else _in_blocks(plugin, stage, blocks)
            if place is not None:
                cfg = {**entry['cfg'], **place.pop('cfg', {})}
                derived.append({**entry, 'cfg': cfg, **place})
    return derived


def _in_stage(plugin: Mapping[str, Any], stage: str, every: Sequence[str]) -> dict[str, Any] | None:
    """The keys that restrict a plugin to a stage, or None if it is not in this stage."""
    if not stage:
        return {}
    numbers = {name: int(re.findall(r'\d+$', name)[0]) for name in every}
    stages, number = plugin.get('stages') or (True,) * max(numbers.values()), numbers[stage]
    if number > len(stages) or not stages[number - 1]:
        return None
    return {'stages': tuple(i == number for i in range(1, len(stages) + 1))}


def _in_blocks(plugin: Mapping[str, Any], stage: str, blocks: Blocks) -> dict[str, Any] | None:
    """The keys that restrict a plugin to the blocks that keep a cell of one alpha, or None if there are none."""
    every = {_block(plugin, name) for name in _all(blocks)} - {''}
    kept = {_block(plugin, name) for name in _kept(blocks[stage])} - {''}
    if not kept or kept == every:
        return {} if kept else None
    stages: dict[int, list[bool]] = {}
    for name in every:
        stages.setdefault(_numbers(name)[0], []).append(name in kept)
    if any(any(keeps) and not all(keeps) for keeps in stages.values()):
        return {'cfg': {'blocks': sorted(kept, key=_numbers)}}
    count = len(plugin.get('stages') or ()) or max(stages)
    return {'stages': tuple(any(stages.get(number, ())) for number in range(1, count + 1))}


def _numbers(block: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', block)]


def _block(plugin: Mapping[str, Any], choice: str) -> str:
    """The block, such as ``layer1.0``, of a choice that this plugin became; empty for a choice elsewhere."""
    match = re.search(rf'(layer\d+\.\d+)\.hoga{plugin["cfg"].get("postfix", "")}$', choice)
    return match[1] if match else ''


def _all(blocks: Blocks) -> set[str]:
    return {name for names in blocks.values() for name in names}


def _kept(blocks: Mapping[str, bool]) -> list[str]:
    return [name for name, kept in blocks.items() if kept]


def plugins_file(
    model: Mapping[str, Any],
    genotypes: Mapping[str, Genotype],
    imports: Mapping[str, Any] | None,
    blocks: Blocks | None = None,
) -> str:
    """A config with the plugins to train.

    Empty unless exactly one ``plugins`` list of ``model`` has supernets and the names of all stages end in a number.

    Args:
        model: the ``model`` of the search's config.
        genotypes, blocks: as in :func:`derived_plugins`.
        imports: the ``custom_imports`` of the search's config, which may register primitives.
    """
    model = _with_supernets(model, genotypes)
    lists = [node['plugins'] for node in dicts_in(model) if isinstance(node.get('plugins'), (list, tuple))]
    searched = [plugins for plugins in lists if any(_is_supernet(plugin.get('cfg')) for plugin in plugins)]
    if len(searched) != 1 or any(stage and not re.search(r'\d$', stage) for stage in genotypes):
        return ''
    if blocks is not None and not all(
        any(_block(plugin, name) for plugin in searched[0] if _is_supernet(plugin.get('cfg'))) for name in _all(blocks)
    ):
        return ''  # in a backbone whose blocks have other names
    plugins = derived_plugins(searched[0], genotypes, blocks)
    header = _PLUGINS + (_BLOCKS if any('blocks' in plugin['cfg'] for plugin in plugins) else '')
    return header + _config('plugins', plugins, imports)


def insertion_file(
    model: Mapping[str, Any],
    genotypes: Mapping[str, Genotype],
    network: Any,
    imports: Mapping[str, Any] | None,
) -> str:
    """A config with the insertion to train: the ``mmhoga.Insert`` of the search, with HOGA cells.

    With several genotypes, it is one insertion per stage, each into the result of the one before. If no block keeps a
    cell, it is the network without insertion. Empty unless exactly one ``mmhoga.Insert`` of ``model`` has supernets,
    and that for the whole model or for one of its parts.

    Args:
        model: the ``model`` of the search's config.
        genotypes: by stage, as in :func:`derived_plugins`.
        network: the model that was searched, with its cells in the stages ``genotypes``: a SearchModel.
        imports: the ``custom_imports`` of the search's config, which may register primitives.
    """
    model = _with_supernets(model, genotypes)
    architecture, blocks = model.get('architecture'), network.blocks()
    parts = {'': architecture, **architecture} if isinstance(architecture, Mapping) else {}
    searched = {name: part for name, part in parts.items() if _is_insertion(part)}
    if len(searched) != 1 or sum(_is_insertion(node) for node in dicts_in(model)) != 1:
        return ''
    ((part, config),) = searched.items()
    settings = {key: config[key] for key in _SETTINGS if key in config}
    derived: Any = settings['into']
    for stage, genotype in genotypes.items():
        names = list(network.named_cells(stage)) if blocks is None else _kept(blocks[stage])
        if not names:
            continue
        derived = {**settings, 'into': derived, 'cell': derived_cell(settings['cell'], genotype)}
        if stage or (blocks is not None and len(names) < len(_all(blocks))):
            where = 'after' if 'after' in settings else 'before'
            derived[where] = '|'.join(map(re.escape, _places(network, names, part)))
    if isinstance(derived, str):
        derived = {'type': derived}  # no block keeps a cell
    value = '{{_base_.insertion}}'
    header = _INSERTION.replace('MODEL.', f'dict({part}={value}).' if part else f'{value}.')
    return header + _config('insertion', derived, imports)


def derived_model(model: Mapping[str, Any], folder: str | Path) -> Any:
    """A copy of the model of a training, with the cells that a search in it has written to its work_dir.

    These are the plugins of ``plugins.py``, the insertion of ``insertion.py`` or, if the search wrote neither because
    cells are in several parts of the model, the genotype of ``genotype.json`` in all cells.
    """
    folder = Path(folder)
    if (folder / 'plugins.py').is_file():
        plugins = Config.fromfile(folder / 'plugins.py').plugins
        return mapped(
            model,
            lambda node: has_cells(node.get('plugins')),
            lambda node: {**node, 'plugins': plugins},
        )
    if (folder / 'insertion.py').is_file():
        insertion = Config.fromfile(folder / 'insertion.py').insertion
        return mapped(
            model,
            lambda node: is_of_kind(node, 'Insert') and has_cells(node.get('cell')),
            lambda node: {**{key: value for key, value in node.items() if key not in _SETTINGS}, **insertion},
        )
    return with_genotype(model, Genotype.load(folder / 'genotype.json'))


def _with_supernets(model: Mapping[str, Any], genotypes: Mapping[str, Genotype]) -> Any:
    """The model of a search, which may be configured by HOGA cells. Of their genotypes not even K is read."""
    return with_supernets(model, num_groups=next(iter(genotypes.values())).num_groups)


def _is_supernet(cfg: Any) -> bool:
    return is_of_kind(cfg, 'SearchableHOGA')


def _is_insertion(cfg: Any) -> bool:
    return is_of_kind(cfg, 'Insert') and _is_supernet(cfg.get('cell'))


def _places(network: Any, names: Sequence[str], part: str) -> list[str]:
    """The modules of a part of the model at which cells or choices with these names are."""
    modules = {network.architecture.get_submodule(name) for name in names}
    places = [name for name, module in cells_of(network.architecture).items() if module in modules]
    return [name.rpartition('.')[0][len(f'{part}.') if part else 0 :] for name in places]


def derived_cell(supernet: Mapping[str, Any], genotype: Genotype) -> dict[str, Any]:
    """The config of the derived cell, from that of the supernet."""
    settings = {key: value for key, value in supernet.items() if key not in ('num_groups', 'primitives')}
    return {**settings, 'type': 'mmhoga.HOGA', 'genotype': [list(row) for row in genotype.edges]}


def _config(name: str, value: Any, imports: Mapping[str, Any] | None) -> str:
    content = {name: value}
    if imports:
        content['custom_imports'] = dict(imports)
    return Config(content).pretty_text
