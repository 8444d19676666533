"""Slices of feature maps for kernels.

A tensor ``(N, C, H, W)`` is read as a slice of the channels of a larger one, in one of two memory formats. Its *width*
is the number of channels of the larger one, and with it both formats are described.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_ELEMENTS = 2048  # of a block


@triton.jit
def maps(x, width, n, p, c, HW, LAST: tl.constexpr):
    """Pointers to pixels p and channels c of image n, a 64-bit integer."""
    start = x + n * HW * width
    if LAST:
        pointers = start + p[:, None] * width + c[None, :]
    else:
        pointers = start + c[None, :] * HW + p[:, None]
    return pointers


@triton.jit
def channel_gate(logits, width, n, c, C):
    """The sigmoid of channels c of ``(N, C, 1, 1)``."""
    return tl.sigmoid(tl.load(logits + n * width + c, mask=c < C, other=0.0).to(tl.float32))


@triton.jit
def pixel_gate(logits, width, n, p, HW, LAST: tl.constexpr):
    """The sigmoid of pixels p of ``(N, 1, H, W)``."""
    start = logits + n * HW * width
    if LAST:
        pointers = start + p * width
    else:
        pointers = start + p
    return tl.sigmoid(tl.load(pointers, mask=p < HW, other=0.0).to(tl.float32))


def blocks(channels: int, pixels: int) -> tuple[int, int, int]:
    """Pixels and channels of a block, and the number of blocks: all channels, and as many pixels as fit."""
    wide = triton.next_power_of_2(channels)
    high = min(triton.next_power_of_2(pixels), max(1, _ELEMENTS // wide))
    return high, wide, triton.cdiv(pixels, high)


def is_last(x: Tensor) -> bool:
    """Whether ``(N, C, H, W)`` is read as channels_last, or as a slice of it."""
    return not x.is_contiguous() and _width(x, True) is not None


def sliced(x: Tensor, last: bool) -> tuple[Tensor, int]:
    """A tensor and its width in a memory format; a copy if it has another."""
    width = _width(x, last)
    if width is None:
        x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        width = x.size(1)
    return x, width


def empty(x: Tensor, last: bool, dtype: torch.dtype | None = None) -> Tensor:
    """Space for a tensor of the shape of x, in one memory format."""
    n, c, h, w = x.shape
    if last:
        return x.new_empty((n, h, w, c), dtype=dtype or x.dtype).permute(0, 3, 1, 2)
    return x.new_empty((n, c, h, w), dtype=dtype or x.dtype)


def _width(x: Tensor, last: bool) -> int | None:
    (n, c, h, w), (batch, channel, row, pixel) = x.shape, x.stride()
    if last:
        width = pixel if w > 1 else row if h > 1 else batch if n > 1 else c
        fits = (c == 1 or channel == 1) and (h == 1 or row == w * width) and (n == 1 or batch == h * w * width)
    else:
        width = batch // (h * w) if n > 1 else c
        fits = (w == 1 or pixel == 1) and (h == 1 or row == w) and (c == 1 or channel == h * w)
        fits = fits and (n == 1 or batch == h * w * width)
    return width if fits else None
