"""Guided back-propagation (Springenberg et al. 2015).

captum hooks ``nn.ReLU`` modules and silently misses ``tensor.relu()`` and ``F.relu``, which HOGA uses. Here every call
of a ReLU function is intercepted.
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

_RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


def guided_backprop(
    model: nn.Module,
    inputs: Tensor,
    classes: Sequence[int] | Tensor | None = None,
    *,
    scores: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The gradient ``(N, C, H, W)`` of a class score for the input, where each ReLU also drops negative gradients.

    Other activations (GELU, SiLU, ReLU6, sigmoid gates) keep their ordinary gradient. The arguments are those of
    :func:`mmhoga.look.grad_cam.grad_cam`.

    Raises:
        ValueError: a class is out of range.
    """
    with undisturbed(model), torch.enable_grad(), _GuidedReLUs():
        inputs = inputs.detach().clone().requires_grad_()
        score, _ = pick((scores or model)(inputs), classes)
        return torch.autograd.grad(score.sum(), inputs)[0]


class _GuidedReLUs(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _RELUS and output.requires_grad:
            output.register_hook(lambda gradient: gradient.clamp(min=0))
        return output
