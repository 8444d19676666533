"""The choice of a block: no attention, or one of several cells, mixed by softmax(beta) during a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhoga.models.hoga import GroupAttention


class CellChoice(BaseModule):
    """``out = p_none x + sum_K p_K cell_K(x)``, with ``p = softmax(beta)``.

    Leaving a cell out means that its input goes on unchanged. So the choice without attention is the identity.

    Args:
        cells: one per K.

    Attributes:
        beta: ``(1 + number of cells,)``, the logits of no attention and of each cell. They start at 0: all choices are
            equally likely.
    """

    def __init__(self, cells: Sequence[GroupAttention]) -> None:
        super().__init__()
        self.num_groups = tuple(cell.num_groups for cell in cells)  # K of each cell
        for cell in cells:
            self.add_module(cell_name(cell.num_groups), cell)
        self.beta = nn.Parameter(torch.zeros(1 + len(cells)).to(next(cells[0].parameters())))

    def __getitem__(self, num_groups: int) -> GroupAttention:
        """The cell of a K."""
        return cast(GroupAttention, self._modules[cell_name(num_groups)])

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        none, *shares = self.probabilities().unbind()
        out = none * x
        for share, num_groups in zip(shares, self.num_groups):
            out = out + share * self[num_groups](x)
        return out

    def probabilities(self) -> Tensor:
        """``softmax(beta)``: of no attention, then of each K."""
        return self.beta.softmax(0)

    def likeliest(self) -> int:
        """The K of the largest beta, or 0 if that of no attention is larger than all of them. Of equal ones the first.

        Raises:
            ValueError: beta is not finite.
        """
        if not self.beta.isfinite().all():
            raise ValueError('beta has values that are not finite: the search diverged. No placement can be derived.')
        none, best = self.beta[0], self.beta[1:].max()
        return 0 if none > best else self.best_groups()

    def best_groups(self) -> int:
        """The K of the largest beta among the cells."""
        return self.num_groups[int(self.beta[1:].detach().argmax())]

    def reset_start(self) -> None:
        """With ``start='identity'``, make every cell the identity."""
        for num_groups in self.num_groups:
            self[num_groups].reset_start()

    def is_identity(self) -> bool:
        """Whether every cell returns its input, and so this module does, too."""
        return all(self[num_groups].is_identity() for num_groups in self.num_groups)


def cell_name(num_groups: int) -> str:
    """The name of a cell in its :class:`CellChoice`."""
    return f'k{num_groups}'
