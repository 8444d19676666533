"""The outputs of convolutional layers, transformer layers and heads in one form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def as_maps(output: Tensor, layer: str = 'the layer') -> Tensor:
    """``(N, C, H, W)`` from maps, from tokens ``(N, L, C)`` or from vectors ``(N, C)``.

    Tokens must form a square; up to two tokens before them (class, distillation) are dropped.

    Raises:
        ValueError: any other shape.
    """
    if output.dim() == 4:
        return output
    if output.dim() == 2:
        return output[:, :, None, None]
    if output.dim() == 3:
        side = math.isqrt(output.size(1))
        extra = output.size(1) - side * side
        if extra <= 2:
            return output[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    raise ValueError(
        f'{layer} returns a tensor of shape {tuple(output.shape)}, not maps (N, C, H, W), tokens (N, L, C) of a '
        'square image, or vectors (N, C). Name another layer.'
    )


def pooled(output: Tensor, layer: str = 'the layer') -> Tensor:
    """The mean of each channel over the positions, ``(N, C)``."""
    return as_maps(output, layer).mean((2, 3))


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation of ``(N, h, w)`` to ``(N, H, W)``."""
    return F.interpolate(maps.unsqueeze(1), size=tuple(size), mode='bilinear', align_corners=False).squeeze(1)
