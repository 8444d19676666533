"""The plugins, or the insertion, of the derived network, from the config of the search and its genotypes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype
from mmhoga.insertion import cells_of
from mmhoga.search.derived_plugins import (
    Blocks,
    all_of,
    block_of,
    derived_cell,
    derived_plugins,
    is_supernet,
    kept_of,
    name_blocks,
)
from mmhoga.search.resume.state import SearchError
from mmhoga.search.supernets import dicts_in, has_cells, is_of_kind, mapped, with_genotype, with_supernets

FILES = ('plugins.py', 'insertion.py')
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
NO_FILE = (
    'the cells of this search are in several parts of the model, or in blocks with other names than layer1.0, and no '
    'config with its placement was written. genotype.json holds the placement, in meta.placement: leave out the cells '
    'of the other blocks by hand.'
)
# The settings of mmhoga.Insert; all others are those of the network.
_SETTINGS = ('type', 'into', 'cell', 'after', 'before', 'start', 'skip_indivisible', 'image_size', 'train_only')


def write_cells(folder: Path, cfg: Mapping[str, Any], genotypes: Mapping[str, Genotype], model: Any) -> None:
    """Write ``plugins.py`` or ``insertion.py``, whichever describes the cells of a search; it may be neither.

    Args:
        folder: exists.
        cfg: the config of the search.
        genotypes: by stage, as in :func:`derived_plugins`.
        model: the SearchModel.
    """
    config, imports = cfg.get('model') or {}, cfg.get('custom_imports')
    texts = (
        plugins_file(config, genotypes, imports, model.blocks()),
        insertion_file(config, genotypes, model, imports),
    )
    for name, text in zip(FILES, texts):
        if text:
            write_atomic(folder / name, text)


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
    searched = [plugins for plugins in lists if any(is_supernet(plugin.get('cfg')) for plugin in plugins)]
    if len(searched) != 1 or any(stage and not re.search(r'\d$', stage) for stage in genotypes):
        return ''
    if blocks is not None and not all(
        any(block_of(plugin, name) for plugin in searched[0] if is_supernet(plugin.get('cfg')))
        for name in all_of(blocks)
    ):
        return ''  # in a backbone whose blocks have other names
    plugins = derived_plugins(searched[0], genotypes, blocks)
    header = _PLUGINS + (_BLOCKS if name_blocks(plugins) else '')
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
        names = list(network.named_cells(stage)) if blocks is None else kept_of(blocks[stage])
        if not names:
            continue
        derived = {**settings, 'into': derived, 'cell': derived_cell(settings['cell'], genotype)}
        if stage or (blocks is not None and len(names) < len(all_of(blocks))):
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
    cells are in several parts of the model, the genotype of ``genotype.json`` in all cells. A ResNet of mmdet becomes
    ``mmhoga.ResNet`` if the plugins name blocks.

    Raises:
        SearchError: a search with a placement that wrote neither.
    """
    folder = Path(folder)
    if (folder / 'plugins.py').is_file():
        plugins = Config.fromfile(folder / 'plugins.py').plugins
        kind = {'type': 'mmhoga.ResNet'} if name_blocks(plugins) else {}
        return mapped(
            model,
            lambda node: has_cells(node.get('plugins')),
            lambda node: {
                **node,
                'plugins': plugins,
                **(kind if node.get('type') in ('ResNet', 'mmdet.ResNet') else {}),
            },
        )
    if (folder / 'insertion.py').is_file():
        insertion = Config.fromfile(folder / 'insertion.py').insertion
        return mapped(
            model,
            lambda node: is_of_kind(node, 'Insert') and has_cells(node.get('cell')),
            lambda node: {**{key: value for key, value in node.items() if key not in _SETTINGS}, **insertion},
        )
    genotype = Genotype.load(folder / 'genotype.json')
    if 'placement' in genotype.meta:
        raise SearchError(f'{folder}: {NO_FILE}')
    return with_genotype(model, genotype)


def _with_supernets(model: Mapping[str, Any], genotypes: Mapping[str, Genotype]) -> Any:
    """The model of a search, which may be configured by HOGA cells. Of their genotypes not even K is read."""
    return with_supernets(model, num_groups=next(iter(genotypes.values())).num_groups)


def _is_insertion(cfg: Any) -> bool:
    return is_of_kind(cfg, 'Insert') and is_supernet(cfg.get('cell'))


def _places(network: Any, names: Sequence[str], part: str) -> list[str]:
    """The modules of a part of the model at which cells or choices with these names are."""
    modules = {network.architecture.get_submodule(name) for name in names}
    places = [name for name, module in cells_of(network.architecture).items() if module in modules]
    return [name.rpartition('.')[0][len(f'{part}.') if part else 0 :] for name in places]


def _config(name: str, value: Any, imports: Mapping[str, Any] | None) -> str:
    content = {name: value}
    # Configs for mmdet and mmpose import mmhoga themselves, and two bases may not have the same key.
    if imports and imports.get('imports') not in ('mmhoga', ['mmhoga']):
        content['custom_imports'] = dict(imports)
    return Config(content).pretty_text
