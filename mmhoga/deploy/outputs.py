"""Whether two nested outputs are equal up to rounding."""

from __future__ import annotations

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
