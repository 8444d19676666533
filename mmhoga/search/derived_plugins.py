"""The ``plugins`` entries of a derived backbone: per stage, or per block after a search with a placement."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmhoga.genotype import Genotype
from mmhoga.search.supernets import is_of_kind

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
        if not is_supernet(plugin.get('cfg')):
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
    every = {block_of(plugin, name) for name in all_of(blocks)} - {''}
    kept = {block_of(plugin, name) for name in kept_of(blocks[stage])} - {''}
    if not kept or kept == every:
        return {} if kept else None
    stages: dict[int, list[bool]] = {}
    for name in every:
        stages.setdefault(_numbers(name)[0], []).append(name in kept)
    if 'blocks' in plugin['cfg'] or any(any(keeps) and not all(keeps) for keeps in stages.values()):
        return {'cfg': {'blocks': sorted(kept, key=_numbers)}}
    count = len(plugin.get('stages') or ()) or max(stages)
    return {'stages': tuple(any(stages.get(number, ())) for number in range(1, count + 1))}


def _numbers(block: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', block)]


def block_of(plugin: Mapping[str, Any], choice: str) -> str:
    """The block, such as ``layer1.0``, of a choice that this plugin became; empty for a choice elsewhere."""
    match = re.search(rf'(layer\d+\.\d+)\.hoga{plugin["cfg"].get("postfix", "")}$', choice)
    return match[1] if match else ''


def name_blocks(plugins: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of these plugins is for single blocks."""
    return any('blocks' in plugin['cfg'] for plugin in plugins)


def all_of(blocks: Blocks) -> set[str]:
    """The names of all blocks."""
    return {name for names in blocks.values() for name in names}


def kept_of(blocks: Mapping[str, bool]) -> list[str]:
    """The names of the blocks that keep a cell of one alpha."""
    return [name for name, kept in blocks.items() if kept]


def derived_cell(supernet: Mapping[str, Any], genotype: Genotype) -> dict[str, Any]:
    """The config of the derived cell, from that of the supernet."""
    settings = {key: value for key, value in supernet.items() if key not in ('num_groups', 'primitives')}
    return {**settings, 'type': 'mmhoga.HOGA', 'genotype': [list(row) for row in genotype.edges]}


def is_supernet(cfg: Any) -> bool:
    return is_of_kind(cfg, 'SearchableHOGA')
