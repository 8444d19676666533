"""Grad-CAM (Selvaraju et al. 2017): where the evidence for a class is.

Written here, in a dozen lines, rather than taken from captum, whose Grad-CAM knows maps only, not the tokens of a
transformer. The tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import torch
from torch import Tensor, nn

from mmhoga.look.class_scores import pick
from mmhoga.look.feature_maps import as_maps
from mmhoga.models.hooks import captured, output_of, undisturbed


def grad_cam(
    model: nn.Module,
    inputs: Tensor,
    layer: str,
    classes: Sequence[int] | Tensor | None = None,
    *,
    scores: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """``relu(sum_c w_c A_c)`` of a layer's maps A, w_c being the mean over places of d score / d A_c.

    Args:
        model: left as it was: mode, gradients, weights, hooks.
        inputs: ``(N, C, H, W)``, as the model takes them.
        layer: its dotted name, usually the last stage (``backbone.layer4``).
        classes: one an image; None: the predicted ones.
        scores: from inputs to ``(N, classes)`` before any softmax; None: the model itself.

    Returns:
        ``(N, h, w)``, not negative, of the layer's size and unscaled.

    Raises:
        ValueError: no such layer (near names are listed), a layer without maps or without influence on the score, or
            of which only the class token has any, a class out of range.
    """
    with undisturbed(model), captured(model, [layer]) as outputs, torch.enable_grad():
        # Inputs that require a gradient reach layers whose weights are all frozen.
        score, _ = pick((scores or model)(inputs.detach().clone().requires_grad_()), classes)
        output = output_of(outputs, layer)
        gradient = torch.autograd.grad(score.sum(), output, allow_unused=True)[0]
    if gradient is None:
        raise ValueError(f'The score of the class does not depend on the layer {layer!r}; name one before the head.')
    if output.dim() == 3 and gradient.any() and not as_maps(gradient, layer).any():
        raise ValueError(
            f'The score of the class depends on no patch of the layer {layer!r}, only on its class token; name an '
            'earlier layer, as the norm before the attention of the last block (backbone.layers.11.ln1).'
        )
    weights = as_maps(gradient, layer).mean((2, 3), keepdim=True)
    return (weights * as_maps(output.detach(), layer)).sum(1).relu()
