"""The layouts of feature maps: convolutions have ``(N, C, H, W)``, transformers ``(N, H, W, C)`` or tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

#: Layout -> the dimension of the channels. ``NLC`` are tokens ``(N, H W, C)``, after any tokens for the whole image.
LAYOUTS = {'NCHW': 1, 'NHWC': 3, 'NLC': 2}


def on_map(
    cell: Callable[[Tensor], Tensor], x: Tensor, layout: str, size: tuple[int, int] | None = None, extra: int = 0
) -> Tensor:
    """Apply a cell for ``(N, C, H, W)`` to a map of any layout, and return the result in that layout.

    Args:
        cell: the function of a map.
        x: the map.
        layout: one of :data:`LAYOUTS`.
        size: (H, W) of tokens; without it their map is square.
        extra: the number of tokens before the map, such as a class token. They stay unchanged.

    Raises:
        ValueError: the tokens form no map of ``size``, or no square.
    """
    if layout == 'NCHW':
        return cell(x)
    if layout == 'NHWC':
        return cell(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    side = math.isqrt(x.size(1) - extra)
    height, width = size or (side, side)
    if height * width + extra != x.size(1):
        raise ValueError(
            f'{x.size(1) - extra} tokens do not form a square map. Use square images, or insert after a module whose '
            'arguments or output include (height, width).'
        )
    tokens = x[:, extra:].transpose(1, 2).unflatten(2, (height, width))
    tokens = cell(tokens).flatten(2).transpose(1, 2)
    return torch.cat((x[:, :extra], tokens), dim=1) if extra else tokens


def size_in(values: Iterable[Any], tokens: int) -> tuple[int, int] | None:
    """The first (height, width) among the arguments or outputs of a module whose product is the number of tokens."""
    pairs = [value for value in values if isinstance(value, (tuple, list)) and len(value) == 2]
    sizes = [(h, w) for h, w in pairs if isinstance(h, int) and isinstance(w, int)]
    return next((size for size in sizes if size[0] * size[1] == tokens), None)


def split_tokens(tokens: int, height: int, width: int) -> tuple[tuple[int, int], int] | None:
    """The (H, W) of the map that tokens of an image of height x width form, and the number of tokens before it."""
    for extra in (0, 1, 2):
        for stride in (1, 2, 4, 8, 14, 16, 32, 64):
            size = (height // stride, width // stride)
            if 0 < size[0] * size[1] == tokens - extra:
                return size, extra
    return None
