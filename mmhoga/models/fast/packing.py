"""Many parameters as a few block matrices, by one scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Layout:
    """Where each element of some matrices lies in one flat buffer.

    ``layout[name]`` is the matrix of positions: slice it as the matrix, flatten what was sliced, and it says where the
    elements of a block go.

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
    """Puts tensors into the blocks of the matrices of a layout; the rest is zero.

    Each element of the matrices is written at most once, so the gradient is a gather, deterministic on every device.

    Args:
        layout: the matrices.
        blocks: the positions of each tensor's elements, in the order of the elements.
    """

    index: Tensor

    def __init__(self, layout: Layout, blocks: Sequence[Tensor]) -> None:
        super().__init__()
        self.shapes, self.sizes = layout.shapes, layout.sizes
        self.register_buffer('index', torch.cat([block.flatten() for block in blocks]), persistent=False)

    def forward(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The matrices by name; one tensor may stand in several blocks."""
        values = torch.cat([tensor.flatten() for tensor in tensors])
        flat = values.new_zeros(sum(self.sizes)).index_copy(0, self.index, values)
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), flat.split(self.sizes))}
