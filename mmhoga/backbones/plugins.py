"""Checking and building the ``plugins`` of a backbone. All entries are checked before the first module is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.cnn import build_plugin_layer
from torch import nn


def plugins_per_stage(
    plugins: Sequence[Mapping[str, Any]] | None, num_stages: int, positions: Sequence[str]
) -> list[list[Mapping[str, Any]]]:
    """Check the plugins and assign them to stages.

    Args:
        plugins: each ``dict(cfg=dict(type=...), position='after_conv2', stages=(True, ...))``. ``stages`` selects the
            stages, by default all. A ``postfix`` in ``cfg`` is appended to the name of the module.
        num_stages: the number of stages.
        positions: the positions that a block of the backbone offers.

    Returns:
        One list of plugins per stage, in the given order.

    Raises:
        ValueError: an entry lacks ``cfg`` or ``position`` or has an unknown key; a block does not offer its position;
            the length of ``stages`` is not ``num_stages``.
    """
    if isinstance(plugins, Mapping):
        raise ValueError(f'plugins must be a list of dicts, not one dict: write plugins=[{dict(plugins)}].')
    stages: list[list[Mapping[str, Any]]] = [[] for _ in range(num_stages)]
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
                "stages=...), where stages is optional; the plugin's own arguments, and postfix, go into cfg."
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
        for stage, wanted in zip(stages, chosen):
            if wanted:
                stage.append(plugin)
    return stages


def add_plugin(block: nn.Module, cfg: Mapping[str, Any], in_channels: int) -> str:
    """Build a plugin into a block and return its name: the abbreviated type and the ``postfix``.

    Raises:
        ValueError: the block already has a module with this name.
    """
    cfg = dict(cfg)
    postfix = cfg.pop('postfix', '')
    name, plugin = build_plugin_layer(cfg, postfix=postfix, in_channels=in_channels)
    if hasattr(block, name):
        raise ValueError(
            f'Two modules of one block would both be called {name!r}; the second is {cfg}. '
            "Give one of them a postfix: cfg=dict(type=..., postfix='_2')."
        )
    block.add_module(name, plugin)
    return name
