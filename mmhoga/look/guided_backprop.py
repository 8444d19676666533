"""Guided back-propagation (Springenberg et al. 2015).

captum hooks ``nn.ReLU`` modules and silently misses ``tensor.relu()`` and ``F.relu``, which HOGA uses. Here every call
of a ReLU function is replaced while the gradient is computed, without hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmhoga.look.outputs import pick
from mmhoga.models.hooks import undisturbed

_IN_PLACE = {F.relu_, torch.relu_, Tensor.relu_}
_RELUS = {F.relu, torch.relu, Tensor.relu, *_IN_PLACE}


def guided_backprop(
    model: nn.Module,
    inputs: Tensor,
    classes: Sequence[int] | Tensor | None = None,
    *,
    scores: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The gradient of a class score with respect to the input, where each ReLU also drops negative gradients.

    Other activations (GELU, SiLU, ReLU6, sigmoid gates) keep their ordinary gradient. The arguments are those of
    :func:`mmhoga.look.grad_cam.grad_cam`.

    Returns:
        ``(N, C, H, W)``, not normalised.

    Raises:
        ValueError: a class is out of range.
    """
    with undisturbed(model), torch.enable_grad(), _GuidedReLUs():
        inputs = inputs.detach().clone().requires_grad_()
        score, _ = pick((scores or model)(inputs), classes)
        return torch.autograd.grad(score.sum(), inputs)[0]


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * positive


class _GuidedReLUs(TorchFunctionMode):
    """Replaces every ReLU by a guided one, in place if the original was."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _RELUS:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs['input']
        result = _GuidedReLU.apply(x)
        in_place = func in _IN_PLACE or kwargs.get('inplace') or any(args[1:])
        return x.copy_(result) if in_place else result
