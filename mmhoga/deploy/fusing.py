"""All of a model without its batch norms."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmhoga.models.fast.folding import fold_norms
from mmhoga.models.hoga import HOGA

Model = TypeVar('Model', bound=nn.Module)


def fuse(model: Model, *inputs: Tensor, tolerance: float = 1e-5) -> Model:
    """A copy of ``model`` for inference: every HOGA fused, every other batch norm folded into its convolution.

    Args:
        model: called with tensors alone, see :class:`mmhoga.deploy.export.TensorsOnly`.
        inputs: a batch to compare the two on.
        tolerance: the largest :func:`disagreement` to accept.

    Raises:
        ValueError: the copy computes something else: the model does not call its convolutions and norms in the order
            in which it lists them.
    """
    model.eval()
    fused = copy.deepcopy(model)
    for module in fused.modules():
        if isinstance(module, HOGA):
            module.fuse()
    fold_norms(fused)
    with torch.no_grad():
        error = disagreement(model(*inputs), fused(*inputs))
    if not error <= tolerance:
        raise ValueError(
            f'{type(model).__name__} cannot be fused: its outputs would change by {error:.2g} of their largest, more '
            f'than {tolerance:g}. It lists a batch norm right after a convolution that it does not normalise, or its '
            'weights are not finite.'
        )
    return fused


def disagreement(expected: Tensor | Sequence[Tensor], actual: Tensor | Sequence[Tensor]) -> float:
    """The largest difference between two outputs, each as a fraction of the largest expected magnitude."""
    if isinstance(expected, Tensor) and isinstance(actual, Tensor):
        expected, actual = expected.detach(), actual.detach()
        scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
        return float((expected - actual).abs().max() / scale)
    return max(disagreement(*pair) for pair in zip(expected, actual))
