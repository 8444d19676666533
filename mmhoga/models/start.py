"""The start of an attention: random, or the identity, so that it can be added to a trained network."""

from __future__ import annotations

import reprlib

import torch
from torch import Tensor, nn

STARTS = ('random', 'identity')


def check_start(start: str) -> bool:
    """Whether ``start`` is ``'identity'``; ValueError unless it is one of :data:`STARTS`."""
    if start not in STARTS:
        raise ValueError(f'start must be one of {STARTS}, not {reprlib.repr(start)}.')
    return start == 'identity'


def zero(module: nn.Module) -> None:
    """Set the weight and the bias of a layer to 0, so that its output is 0 for any finite input."""
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            parameter.zero_()


def is_zero(module: nn.Module) -> bool:
    """Whether every weight and bias of a layer is 0."""
    return all(not parameter.any() for parameter in module.parameters(recurse=False))


class Blend(nn.Module):
    """``x + scale * (y - x)``, with one learned scale per channel that starts at 0 (LayerScale, Touvron et al. 2021).

    For an attention ``y = A(x)`` without a gate or a last layer that can be set to 0. The scale has a gradient from
    the first step on, and A from the second.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two tensors ``(N, C, H, W)`` to one."""
        return x + self.scale * (y - x)
