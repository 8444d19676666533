"""Checking and building the ``plugins`` of a backbone. All entries are checked before the first module is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.cnn import build_plugin_layer
from torch import nn

from mmhoga.models.norms import inherited, with_norm


def plugins_per_block(
    plugins: Sequence[Mapping[str, Any]] | None, stage_blocks: Sequence[int], positions: Sequence[str]
) -> list[list[list[Mapping[str, Any]]]]:
    """Check the plugins and assign them to blocks.

    Args:
        plugins: each ``dict(cfg=dict(type=...), position='after_conv2', stages=(True, ...))``. ``stages`` selects the
            stages, by default all. ``blocks`` in ``cfg`` selects blocks of these stages by name, such as
            ``['layer1.0', 'layer3.1']``, by default all. It is in ``cfg`` so that a backbone without this key, such as
            mmdet's ResNet, raises an error instead of ignoring it. A ``postfix`` in ``cfg`` is appended to the name of
            the module.
        stage_blocks: the number of blocks in each stage.
        positions: the positions that a block of the backbone offers.

    Returns:
        For each stage, for each of its blocks, a list of plugins in the given order, without ``blocks``.

    Raises:
        ValueError: an entry lacks ``cfg`` or ``position`` or has an unknown key; a block does not offer its position;
            the length of ``stages`` is not the number of stages; ``blocks`` names a block that its stages do not have.
    """
    num_stages = len(stage_blocks)
    if isinstance(plugins, Mapping):
        raise ValueError(f'plugins must be a list of dicts, not one dict: write plugins=[{dict(plugins)}].')
    assigned: list[list[list[Mapping[str, Any]]]] = [[[] for _ in range(blocks)] for blocks in stage_blocks]
    for index, plugin in enumerate(plugins or ()):
        where = f'plugins[{index}]'
        if not isinstance(plugin, Mapping):
            raise ValueError(f'{where} must be a dict with the keys cfg, position and stages, not {plugin!r}.')
        missing = sorted({'cfg', 'position'} - set(plugin))
        unknown = sorted(set(plugin) - {'cfg', 'position', 'stages'})
        if missing or unknown:
            problem = f'lacks {missing}' if missing else f'has unknown keys {unknown}'
            raise ValueError(
                f'{where} {problem}: {dict(plugin)}. A plugin is dict(cfg=dict(type=...), position=..., '
                "stages=...), where stages is optional; the plugin's own arguments, postfix and blocks go into cfg."
            )
        if not isinstance(plugin['cfg'], Mapping) or 'type' not in plugin['cfg']:
            raise ValueError(f"{where}['cfg'] must be a dict with a 'type', not {plugin['cfg']!r}.")
        if plugin['position'] not in positions:
            raise ValueError(
                f"{where}['position'] is {plugin['position']!r}, which this block does not have. "
                f'Its positions: {", ".join(positions)}.'
            )
        chosen = plugin.get('stages')
        if chosen is None:
            chosen = (True,) * num_stages
        if len(chosen) != num_stages:
            raise ValueError(
                f"{where}['stages'] has {len(chosen)} entries, {tuple(chosen)}, but the backbone has {num_stages} "
                'stages: give one True or False per stage, or leave stages out for all of them.'
            )
        cfg = dict(plugin['cfg'])
        names = [f'layer{i}.{j}' for i, blocks in enumerate(stage_blocks, 1) for j in range(blocks) if chosen[i - 1]]
        selected = _selected(cfg.pop('blocks', None), names, where)
        for i, stage in enumerate(assigned, 1):
            for j, block in enumerate(stage):
                if f'layer{i}.{j}' in selected:
                    block.append({**plugin, 'cfg': cfg})
    return assigned


def _selected(blocks: Any, names: Sequence[str], where: str) -> Sequence[str]:
    """The blocks of ``names`` that a plugin goes into."""
    if blocks is None:
        return names
    if isinstance(blocks, str) or not isinstance(blocks, Sequence) or set(map(str, blocks)) - set(names):
        raise ValueError(
            f"{where}['cfg']['blocks'] is {blocks!r}. It is a list of names of blocks in the stages of this plugin: "
            f'{", ".join(names)}.'
        )
    return blocks


def add_plugin(
    block: nn.Module, cfg: Mapping[str, Any], in_channels: int, norm_cfg: Mapping[str, Any] | None = None
) -> str:
    """Build a plugin into a block and return its name: the abbreviated type and the ``postfix``.

    An attention of mmhoga takes the norm of the block, ``norm_cfg``, unless ``cfg`` has one.

    Raises:
        ValueError: the block already has a module with this name.
    """
    cfg = with_norm(cfg, inherited(norm_cfg))
    postfix = cfg.pop('postfix', '')
    name, plugin = build_plugin_layer(cfg, postfix=postfix, in_channels=in_channels)
    if hasattr(block, name):
        raise ValueError(
            f'Two modules of one block would both be called {name!r}; the second is {cfg}. '
            "Give one of them a postfix: cfg=dict(type=..., postfix='_2')."
        )
    block.add_module(name, plugin)
    return name
