"""The network of a config without and with cells, and what the command line does with the two."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmhoga.cli.insertion_configs import Insertion, insertion, without_cells
from mmhoga.cli.places import cell_config, matching
from mmhoga.cli.run.errors import explained
from mmhoga.cli.run.runner import set_loader_defaults
from mmhoga.hosts import LaunchError, build_model, config_scope, import_mmpretrain, load_config
from mmhoga.insertion import estimate_norms
from mmhoga.insertion.places import find_places


@dataclass
class Networks:
    """A network without and with cells.

    Args:
        base: the config of the command line, as it was read.
        cfg: the config with the cells.
        plain, inserted: the networks, with the same keys but for those of the cells.
        change: the difference of ``cfg`` from ``base``; None if ``base`` has the cells.
    """

    base: Config
    cfg: Config
    plain: nn.Module
    inserted: nn.Module
    change: Insertion | None = None

    @property
    def cell_keys(self) -> list[str]:
        """The keys of the cells in the state dict."""
        known = set(self.plain.state_dict())
        return [key for key in self.inserted.state_dict() if key not in known]

    @property
    def part(self) -> str:
        """The part of the network that has all cells: ``backbone``, or empty for the whole."""
        for part in ('architecture.backbone', 'backbone'):
            if all(key.startswith(f'{part}.') for key in self.cell_keys):
                return part
        return ''


def build_networks(args: argparse.Namespace) -> Networks:
    """Build the network without and with the cells that a command line asks for.

    Raises:
        LaunchError: the config has no cells and the command line names no place, or both have cells.
        PlaceError: the network runs on no image.
    """
    pattern = args.after if args.after is not None else args.before
    cfg = load_config(args.config, args.cfg_options)
    base = copy.deepcopy(cfg)  # building a model moves the preprocessor
    import_mmpretrain(cfg)
    if pattern is None:
        plain = without_cells(cfg)
        if plain.model == cfg.model:
            raise LaunchError(
                f'{args.config} has no attention of mmhoga. Choose where it goes: --after PATTERN or --before PATTERN. '
                f'mmhoga places {args.config} lists the names.'
            )
        if args.genotype or args.cell != 'hoga' or args.skip_indivisible:
            raise LaunchError(
                f'{args.config} sets the attention: --cell, --genotype and --skip-indivisible are for --after and '
                '--before.'
            )
        return Networks(base, cfg, build_model(plain), build_model(cfg))
    settings: dict[str, Any] = {'cell': cell_config(args), 'after' if args.before is None else 'before': pattern}
    if args.skip_indivisible:
        settings['skip_indivisible'] = True
    plain_model = build_model(cfg)
    change = checked_insertion(cfg, plain_model, settings)
    changed = copy.deepcopy(base)
    changed.merge_from_dict(change.options)
    return Networks(base, changed, plain_model, build_model(changed), change)


def checked_insertion(cfg: Config, network: nn.Module, settings: Mapping[str, Any]) -> Insertion:
    """The change of a config that inserts cells at the modules that ``after`` or ``before`` in ``settings`` matches.

    Raises:
        LaunchError: no module matches.
    """
    key = 'after' if 'after' in settings else 'before'
    places = find_places(network, before=key == 'before')
    matching(settings[key], places, network)
    return insertion(cfg, settings[key], [place.name for place in places], settings)


def cells_with_start(module: nn.Module) -> list[nn.Module]:
    """The attentions of a network that can start as the identity, inserted ones and plugins."""
    if hasattr(module, 'is_identity'):
        return [module]
    return [cell for child in module.children() for cell in cells_with_start(child)]


def estimate_on_training_data(network: nn.Module, cfg: Config, number: int) -> int:
    """Estimate the statistics of the cells' batch norms on batches of the training data, and return their number.

    Raises:
        LaunchError: the config has no training data, or they cannot be read.
    """
    cfg = copy.deepcopy(cfg)
    if not cfg.get('train_dataloader'):
        raise LaunchError(f'--norm-batches: {cfg.filename} has no train_dataloader.')
    set_loader_defaults(cfg, pin_memory=False, persistent_workers=False)

    def forward(model: Any, batch: Any) -> None:
        model(**model.data_preprocessor(batch, True), mode='tensor')

    def batches() -> Iterator[Any]:
        yield from islice(Runner.build_dataloader(cfg.train_dataloader, seed=0), number)

    with explained(cfg, ['train']), DefaultScope.overwrite_default_scope(config_scope(cfg)):
        return estimate_norms(network, batches(), forward)
