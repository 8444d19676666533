"""Placement: which blocks get an attention at all, and of which K, as a part of the search (section 5 of the paper).

Every supernet of the network becomes a :class:`mmhoga.models.cell_choice.CellChoice`. Its logits beta are architecture
parameters like alpha. At the end each block keeps one cell, or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmhoga.genotype import Genotype
from mmhoga.insertion.insert import replace
from mmhoga.models.cell_choice import CellChoice, cell_name
from mmhoga.models.complexity import Complexity
from mmhoga.models.supernet import SearchableHOGA
from mmhoga.search.costs import Shape, cell_complexity, genotype_cost

NO_ATTENTION = (
    'Placement: no block keeps an attention, so the searched network is the plain one. plugins.py or insertion.py adds '
    'no cell, and the genotype is of cells that are left out. To keep some, lower model.cost.weight, or set '
    'model.placement.keep to a number of blocks.'
)


@dataclass(frozen=True)
class Placement:
    """The choices of each block, and the way in which one of them is kept.

    Args:
        num_groups: every K to choose from, beside no attention. By default a block has its own supernet's K.
        keep: the number of blocks that keep an attention: those with the largest probability of one. By default a block
            keeps one unless ``none`` is the most likely of its choices.

    Raises:
        ValueError: no K, the same K twice, or a ``keep`` that is not a positive integer.
    """

    num_groups: Sequence[int] | None = None
    keep: int | None = None

    def __post_init__(self) -> None:
        groups = self.num_groups
        if groups is not None and (
            isinstance(groups, str) or not isinstance(groups, Sequence) or not groups or len(set(groups)) < len(groups)
        ):
            raise ValueError(f'placement.num_groups is a list of different K, such as (2, 4), not {groups!r}.')
        if self.keep is not None and (type(self.keep) is not int or self.keep < 1):
            raise ValueError(f'placement.keep is a number of blocks of at least 1, or None, not {self.keep!r}.')

    def add_choices(self, architecture: nn.Module) -> None:
        """Replace every supernet of a model by a choice that contains it, in place.

        Raises:
            ValueError: a K that does not divide the width of a block; ``keep`` is larger than the number of blocks; the
                supernets differ in their primitives.
        """
        cells = {n: module for n, module in architecture.named_modules() if isinstance(module, SearchableHOGA)}
        if cells and (self.keep or 0) > len(cells):
            raise ValueError(f'placement.keep is {self.keep}, but the model has {len(cells)} blocks with a supernet.')
        if len({cell.primitives for cell in cells.values()}) > 1:
            raise ValueError('A placement needs supernets with the same primitives, but those of the model differ.')
        for name, cell in cells.items():
            try:
                offered = [
                    cell if num_groups == cell.num_groups else cell.with_groups(num_groups)
                    for num_groups in self.num_groups or (cell.num_groups,)
                ]
            except ValueError as error:
                raise ValueError(f'placement.num_groups={self.num_groups}, at {name}: {error}') from error
            replace(architecture, cell, CellChoice(offered).train(cell.training))

    def kept(self, choices: Mapping[str, CellChoice]) -> dict[str, int]:
        """The K of the cell that each block keeps; 0 for a block without attention.

        Of equally likely choices a block keeps an attention, and the first K. Of equally likely blocks, ``keep`` takes
        the first.
        """
        if self.keep is None:
            return {name: choice.likeliest() for name, choice in choices.items()}
        left_out = {name: choice.probabilities()[0].item() for name, choice in choices.items()}
        best = sorted(choices, key=left_out.__getitem__)[: self.keep]  # a stable sort
        return {name: choice.best_groups() if name in best else 0 for name, choice in choices.items()}


def named_choices(architecture: nn.Module) -> dict[str, CellChoice]:
    """The choices of a model by the name of their module, which stands for the block."""
    return {name: module for name, module in architecture.named_modules() if isinstance(module, CellChoice)}


def cells_of_blocks(choices: Mapping[str, CellChoice]) -> list[list[str]]:
    """The names of the cells of each block."""
    return [[f'{block}.{cell_name(k)}' for k in choice.num_groups] for block, choice in choices.items()]


def cell_probabilities(choices: Mapping[str, CellChoice]) -> dict[str, Tensor]:
    """The probability of each cell, by its name."""
    return {
        f'{block}.{cell_name(k)}': p
        for block, choice in choices.items()
        for k, p in zip(choice.num_groups, choice.probabilities()[1:])
    }


def kept_cells(kept: Mapping[str, int]) -> list[str]:
    """The names of the cells that :meth:`Placement.kept` selects."""
    return [f'{block}.{cell_name(num_groups)}' for block, num_groups in kept.items() if num_groups]


def blocks_of(kept: Mapping[str, int], cells: Mapping[str, Mapping[str, SearchableHOGA]]) -> dict[str, dict[str, bool]]:
    """For each alpha, the blocks that have a cell with it, and whether they keep that cell.

    Args:
        kept: as :meth:`Placement.kept` returns it.
        cells: for each alpha, by name, the supernets that share it.
    """
    names = kept_cells(kept)
    return {
        alpha: {name.rpartition('.')[0]: name in names for name in named_cells} for alpha, named_cells in cells.items()
    }


def record(
    choices: Mapping[str, CellChoice],
    kept: Mapping[str, int],
    cells: Mapping[str, SearchableHOGA],
    shapes: Mapping[str, Shape],
    genotype: Genotype,
) -> dict[str, Any]:
    """The choices of the blocks of one alpha, for a genotype file and the history of a search.

    Args:
        choices: all of the model, by block.
        kept: as :meth:`Placement.kept` returns it.
        cells: the supernets that share the alpha.
        shapes: (C, H, W) of the input of each cell; without all of them the cost is left out.
        genotype: derived from this alpha.
    """
    names = kept_cells(kept)
    own = {name: cell for name, cell in cells.items() if name in names}
    blocks = {
        block: {
            'num_groups': [0, *choice.num_groups],
            'beta': choice.beta.detach().double().tolist(),
            'kept': kept[block],
        }
        for block, choice in choices.items()
        if any(f'{block}.{cell_name(num_groups)}' in cells for num_groups in choice.num_groups)
    }
    values = {'blocks': blocks, 'cells': len(own)}
    if shapes.keys() >= own.keys():
        cost = whole_cost(own, shapes, genotype)
        values.update(params=cost.params, macs=cost.macs)
    return values


def whole_cost(cells: Mapping[str, SearchableHOGA], shapes: Mapping[str, Shape], genotype: Genotype) -> Complexity:
    """Parameters and multiply-accumulates of these cells, derived by one genotype: their edges, and all else."""
    edges = genotype_cost(cells, shapes, genotype)
    rest = [cell_complexity(cell, shapes[name]) for name, cell in cells.items()]
    return Complexity(edges.params + sum(c.params for c in rest), edges.macs + sum(c.macs for c in rest))
