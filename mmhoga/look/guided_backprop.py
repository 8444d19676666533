"""Guided back-propagation (Springenberg et al. 2015): which pixels speak for a class.

captum's attaches hooks to ``nn.ReLU`` modules and so passes by ``tensor.relu()`` and ``F.relu``, without a word. Every
HOGA has some. Here each ReLU that runs, however it is written, is replaced for the length of the computation, and
nothing is attached to the model at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmhoga.look.class_scores import pick
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
    """The gradient of a class' score by the input, of which each ReLU lets only the positive part pass.

    Other activations (GELU, SiLU, ReLU6, sigmoid gates) have their plain gradient.

    Args:
        model: left as it was.
        inputs: ``(N, C, H, W)``, as the model takes them.
        classes: one an image; None: the predicted ones.
        scores: from inputs to ``(N, classes)`` before any softmax; None: the model itself.

    Returns:
        ``(N, C, H, W)``, unscaled.

    Raises:
        ValueError: a class out of range.
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
    """Every ReLU in this context is a guided one, and in place if it was."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _RELUS:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs['input']
        result = _GuidedReLU.apply(x)
        in_place = func in _IN_PLACE or kwargs.get('inplace') or any(args[1:])
        return x.copy_(result) if in_place else result
