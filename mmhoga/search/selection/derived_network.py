"""The derived network with the weights of the supernet."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import nn

from mmhoga.genotype import Genotype
from mmhoga.insertion.inserted import Inserted
from mmhoga.models import HOGA
from mmhoga.search.derived import derived_cell
from mmhoga.search.model import SearchModel
from mmhoga.search.placement import kept_cells


def derived_architecture(model: SearchModel, genotypes: Mapping[str, Genotype]) -> BaseModel:
    """A copy of the searched architecture whose supernets are HOGA cells with the weights that they have there.

    With a placement, a block that keeps no cell has an identity in its place.

    Its state dict fits the network that the ``plugins.py`` or ``insertion.py`` of the search describe. With a one-hot
    mix the search model computes the same. Batch norms of candidates have no scale and shift in a supernet; those of
    the derived cells start at 1 and 0.

    Args:
        model: not wrapped, at any time of the search; it stays as it is.
        genotypes: one for each stage of :meth:`SearchModel.named_alphas`; a single alpha has the empty name.

    Raises:
        ValueError: other stages than those of the model, a genotype with another K or with an operation that is not a
            candidate.
    """
    cells = derived_cells(model, genotypes)
    # What the memo holds is not copied: each supernet is replaced wherever the architecture refers to it.
    memo = {id(module): cells.get(name) or nn.Identity() for name, module in searched_modules(model).items()}
    network = copy.deepcopy(model.architecture, memo)
    for module in network.modules():
        if isinstance(module, Inserted) and module.cell_config is not None and isinstance(module.cell, HOGA):
            module.cell_config = derived_cell(module.cell_config, module.cell.genotype)
    return network


def derived_cells(model: SearchModel, genotypes: Mapping[str, Genotype]) -> dict[str, HOGA]:
    """The derived cells of the network, by name. Torch's random numbers stay as they are.

    The names are those of :func:`searched_modules`; blocks that keep no cell are missing.

    Raises:
        ValueError: as :func:`derived_architecture`.
    """
    stages = list(model.named_alphas())
    if set(genotypes) != set(stages):
        raise ValueError(
            f'The search has an alpha for each of the stages {stages}, and there are genotypes for {list(genotypes)}. '
            'Give one genotype for each stage; a single alpha has the empty name.'
        )
    with torch.random.fork_rng(devices=[]):  # cells are built on the CPU
        cells = {
            name: cell.derive(genotypes[stage]) for stage in stages for name, cell in model.named_cells(stage).items()
        }
    kept = model.kept()
    return cells if kept is None else {name.rpartition('.')[0]: cells[name] for name in kept_cells(kept)}


def searched_modules(model: SearchModel) -> dict[str, nn.Module]:
    """The modules that the derived network replaces, by name: the supernets, or with a placement the choices."""
    return dict(model.named_cells() if model.placement is None else model.named_choices())


def places_of(network: nn.Module, cells: Mapping[str, nn.Module]) -> list[tuple[nn.Module, str, str]]:
    """Every (parent module, name there, name of the cell) at which a network refers to one of these cells."""
    names: dict[Any, str] = {cell: name for name, cell in cells.items()}
    return [
        (parent, child_name, names[child])
        for parent in network.modules()
        for child_name, child in parent._modules.items()
        if child in names
    ]
