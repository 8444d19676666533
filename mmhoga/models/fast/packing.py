"""Packing of many parameters into a few block matrices, with one scatter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def positions(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The positions of the elements of matrices in one flat buffer. Slice them like the matrices to get blocks."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    parts = torch.arange(sum(sizes)).split(sizes)
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}


class Packing(nn.Module):
    """Copies tensors into blocks of matrices; all other elements are zero.

    Each element is written at most once, so the gradient is a gather, which is deterministic on every device.

    Args:
        matrices: the :func:`positions` of their elements.
        blocks: for each tensor the positions of its elements, in their order.
    """

    index: Tensor

    def __init__(self, matrices: Mapping[str, Tensor], blocks: Sequence[Tensor]) -> None:
        super().__init__()
        self.shapes = {name: matrix.shape for name, matrix in matrices.items()}
        self.sizes = [matrix.numel() for matrix in matrices.values()]
        self.register_buffer('index', torch.cat([block.flatten() for block in blocks]), persistent=False)

    def forward(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The matrices by name. A tensor may be listed more than once, for several blocks."""
        values = torch.cat([tensor.flatten() for tensor in tensors])
        flat = values.new_zeros(sum(self.sizes)).index_copy(0, self.index, values)
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), flat.split(self.sizes))}
