"""The training config of ``mmhoga search``: with cells at the places of the command line, and with those found."""

from __future__ import annotations

import argparse
import copy
import inspect
import re
from contextlib import suppress
from typing import Any

from mmengine.config import Config
from torch import nn

from mmhoga.cli.inserted_networks import checked_insertion
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, load_config
from mmhoga.insertion import PlaceError, find_places
from mmhoga.search.supernets import has_cells

CELL = {'type': 'mmhoga.HOGA'}
_STAGE = re.compile(r'(?:.*\.)?backbone\.(?:layer|stage)s?\.?\d+')


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that put cells into a network without."""
    group = parser.add_argument_group('where cells go, if CONFIG has none')
    where = group.add_mutually_exclusive_group()
    place_help = 'insert a cell {} every module whose whole name matches; mmhoga places lists the names'
    where.add_argument('--after', metavar='PATTERN', help=place_help.format('after'))
    where.add_argument('--before', metavar='PATTERN', help=place_help.format('before'))
    plugins_help = 'add a plugin to each block of a backbone that takes plugins; the paper uses after_conv2'
    where.add_argument('--plugins', metavar='POSITION', help=plugins_help)
    start_help = 'of inserted cells: identity for a pretrained backbone, random for one that is trained from scratch'
    group.add_argument('--start', choices=('identity', 'random'), default='identity', help=f'{start_help} (identity)')
    skip_help = 'leave out the modules whose width K does not divide, instead of refusing'
    group.add_argument('--skip-indivisible', action='store_true', help=skip_help)


def read_training(args: argparse.Namespace) -> Config:
    """The config of the command line, with the cells that ``--after``, ``--before`` or ``--plugins`` add.

    Raises:
        LaunchError: it has no cells and no option adds any, or it has some and an option adds others.
    """
    cfg = load_config(args.config, args.cfg_options)
    added = next((key for key in ('after', 'before', 'plugins') if getattr(args, key) is not None), None)
    if has_cells(cfg.get('model')) or has_cells(cfg.get('model'), 'SearchableHOGA'):
        if added:
            raise LaunchError(f'{args.config} has cells of mmhoga.HOGA already, which --{added} is not for.')
        return cfg
    if not cfg.get('model'):
        raise LaunchError(f'{args.config} is not the config of a training: it has no model.')
    if added == 'plugins':
        backbone = cfg.model.get('backbone') or {}
        plugins = [*(backbone.get('plugins') or ()), dict(cfg=dict(CELL), position=args.plugins)]
        cfg.merge_from_dict({'model.backbone.plugins': plugins})
        return cfg
    network = _network(cfg)
    if added is None:
        raise LaunchError(_where(args.config, cfg, network))
    settings: dict[str, Any] = {'cell': dict(CELL), added: getattr(args, added)}
    if args.start != 'identity':
        settings['start'] = args.start
    if args.skip_indivisible:
        settings['skip_indivisible'] = True
    cfg.merge_from_dict(checked_insertion(cfg, network, settings).options)
    return cfg


def _network(cfg: Config) -> nn.Module:
    cfg = copy.deepcopy(cfg)  # building a model moves the preprocessor
    import_mmpretrain(cfg)
    return build_model(cfg)


def _where(config: str, cfg: Config, network: nn.Module) -> str:
    """A message that names the places for cells: plugins, and the stages of the backbone."""
    text = [f'{config} has no cell of mmhoga.HOGA to search. Say where cells go:']
    backbone = type(getattr(network, 'backbone', None))
    if any('plugins' in inspect.signature(kind).parameters for kind in backbone.__mro__[:-1]):
        text.append(
            '--plugins after_conv2 adds them to the blocks of its backbone, as in the paper: '
            "model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')]))."
        )
    stages = []
    with suppress(PlaceError):  # a network that runs on no image of zeros
        stages = [place.name for place in find_places(network) if not place.problem and _STAGE.fullmatch(place.name)]
    if stages:
        pattern = re.sub(r'\d+$', r'\\d', re.escape(stages[0]))
        change = checked_insertion(cfg, network, {'cell': dict(CELL), 'after': pattern})
        text.append(f"--after '{pattern}' inserts them after the stages of its backbone: {change.line}.")
    text.append(f'mmhoga places {config} lists all places.')
    return ' '.join(text)
