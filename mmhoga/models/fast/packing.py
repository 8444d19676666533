"""Packing of many parameters into a few block matrices, with one scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Layout:
    """The positions of the elements of several matrices in one flat buffer.

    ``layout[name]`` is a matrix of positions. Slice it like the matrix itself to get the positions of a block.

    Args:
        shapes: of the matrices, by name.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.sizes = [torch.Size(shape).numel() for shape in shapes.values()]
        positions = torch.arange(sum(self.sizes)).split(self.sizes)
        self._positions = {name: flat.view(shapes[name]) for name, flat in zip(shapes, positions)}

    def __getitem__(self, name: str) -> Tensor:
        return self._positions[name]


class Packing(nn.Module):
    """Copies tensors into blocks of the matrices of a layout; all other elements are zero.

    Each element is written at most once, so the gradient is a gather, which is deterministic on every device.

    Args:
        layout: the matrices.
        blocks: for each tensor the positions of its elements, in their order.
    """

    index: Tensor

    def __init__(self, layout: Layout, blocks: Sequence[Tensor]) -> None:
        super().__init__()
        self.shapes, self.sizes = layout.shapes, layout.sizes
        self.register_buffer('index', torch.cat([block.flatten() for block in blocks]), persistent=False)

    def forward(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The matrices by name. A tensor may be listed more than once, for several blocks."""
        values = torch.cat([tensor.flatten() for tensor in tensors])
        flat = values.new_zeros(sum(self.sizes)).index_copy(0, self.index, values)
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), flat.split(self.sizes))}
