"""The configs of trials: a training config with another genotype, another seed, or fewer epochs."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config

from mmhoga.genotype import Genotype, uniform
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, require_model, walk
from mmhoga.search.supernets import is_of_kind
from mmhoga.studies.study import Claim


def genotype_cells(cfg: Config) -> list[Any]:
    """The config of every HOGA cell in the model of a training config.

    Raises:
        LaunchError: there is none, or the config is that of a search, whose cells become supernets.
    """
    require_model(cfg)
    if is_of_kind(cfg.model, 'SearchModel'):
        raise LaunchError(
            f'{cfg.filename} is the config of a search; its genotype is not set. Name that of a training.'
        )
    nodes = [node for _, node in walk({'model': cfg.model}) if isinstance(node, dict)]
    cells = [node for node in nodes if str(node.get('type')) in ('HOGA', 'mmhoga.HOGA')]
    if not cells:
        raise LaunchError(f'{cfg.filename} has no plugin of type mmhoga.HOGA whose genotype could be replaced.')
    return cells


def require_groups(cfg: Config, num_groups: int) -> None:
    """Build the network once with K groups in every HOGA cell, before trials are planned.

    Raises:
        LaunchError: as of :func:`genotype_cells`; or the network cannot be built, for example because K does not divide
            its widths.
    """
    genotype_cells(cfg)
    changed = copy.deepcopy(cfg)
    for cell in genotype_cells(changed):
        cell['genotype'] = [list(row) for row in uniform('skip_connect', num_groups).edges]
    import_mmpretrain(changed)
    build_model(changed)


def genotype_config(cfg: Config, claim: Claim) -> Config:
    """The training config with the trial's genotype in every HOGA cell. The genotype is also saved in its folder.

    Raises:
        LaunchError: the folder belongs to another genotype.
    """
    file, genotype = claim.folder / 'genotype.json', claim.proposal
    if file.is_file() and Genotype.load(file) != genotype:
        raise LaunchError(
            f'{file} is not the genotype that the study has for this trial. The storage of the study was probably '
            'removed, and its folder was not. Use another --work-dir.'
        )
    Genotype(genotype.edges, {'study': claim.folder.parent.name, 'trial': claim.number}).save(file)
    cfg = copy.deepcopy(cfg)
    for cell in genotype_cells(cfg):
        cell['genotype'] = [list(row) for row in genotype.edges]
    return cfg


def seed_config(cfg: Config, claim: Claim) -> Config:
    """The config with the trial's seed."""
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict({'randomness.seed': claim.proposal})
    return cfg


def shorten(cfg: Config, epochs: int) -> None:
    """Train for ``epochs`` epochs, with schedules compressed by the same factor.

    Raises:
        LaunchError: the config trains by iterations.
    """
    before = cfg.train_cfg.get('max_epochs')
    if not before:
        raise LaunchError(f'--epochs: {cfg.filename} has no train_cfg.max_epochs to replace.')

    def scaled(epoch: int) -> int:
        return max(1, round(epoch * epochs / before)) if 0 < epoch <= before else epoch

    cfg.train_cfg.max_epochs = epochs
    for _, scheduler in walk({'': cfg.get('param_scheduler') or []}):
        if not isinstance(scheduler, dict) or not scheduler.get('by_epoch', True):
            continue
        for key in ('begin', 'end', 'T_max', 'step_size'):
            if key in scheduler:
                scheduler[key] = scaled(scheduler[key])
        if 'end' in scheduler:
            scheduler['end'] = max(scheduler['end'], scheduler.get('begin', 0) + 1)
        if 'milestones' in scheduler:
            scheduler['milestones'] = [scaled(epoch) for epoch in scheduler['milestones']]
