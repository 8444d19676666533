"""Whether two nested outputs are equal up to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten


def check_outputs(actual: Any, expected: Any, tolerance: float) -> None:
    """Compare the tensors in two nested outputs in order, each scaled by the largest magnitude expected.

    Raises:
        AssertionError: a tensor differs by more than ``tolerance``, or in shape, or their numbers differ.
    """
    actual, expected = ([leaf for leaf in tree_flatten(x)[0] if isinstance(leaf, Tensor)] for x in (actual, expected))
    if len(actual) != len(expected):
        raise AssertionError(f'There are {len(actual)} outputs instead of {len(expected)}.')
    for got, wanted in zip(actual, expected):
        scale = wanted.abs().max().clamp(min=torch.finfo(wanted.dtype).tiny)
        torch.testing.assert_close(
            got / scale, wanted / scale, rtol=0, atol=tolerance, msg=lambda text: ' '.join(text.split())
        )


def check_detections(actual: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    """Compare detections per image: boxes ``(N, M, 4)``, scores ``(N, M)`` and labels ``(N, M)``, -1 if unused.

    Each detection needs its counterpart: the same label, a score within ``tolerance``, a box within ``tolerance`` of
    the largest coordinate. Rounding may exchange detections of nearly equal scores and decide NMS at its threshold
    otherwise, so 2 % may lack one.

    Raises:
        AssertionError: more than 2 % of the detections of either side have no counterpart.
    """
    scale = expected[0].abs().max().clamp(min=1)
    sides: list[Any] = [actual, expected]
    for these, those in (sides, sides[::-1]):
        used, others = these[2] >= 0, those[2] >= 0
        near = ((these[0][:, :, None] - those[0][:, None]).abs() <= tolerance * scale).all(3)
        near &= (these[1][:, :, None] - those[1][:, None]).abs() <= tolerance
        near &= (these[2][:, :, None] == those[2][:, None]) & others[:, None]
        lone = int((used & ~near.any(2)).sum())
        if lone > 0.02 * int(used.sum()):
            raise AssertionError(
                f'{lone} of {int(used.sum())} detections have no counterpart among {int(others.sum())}, with a box and '
                f'a score within {tolerance:g}.'
            )
