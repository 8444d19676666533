"""Grad-CAM (Selvaraju et al. 2017).

captum's Grad-CAM takes maps only, not the tokens of a transformer. The tests compare the two on maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import torch
from torch import Tensor, nn

from mmhoga.look.outputs import as_maps, pick
from mmhoga.models.hooks import captured, output_of, undisturbed


def grad_cam(
    model: nn.Module,
    inputs: Tensor,
    layer: str,
    classes: Sequence[int] | Tensor | None = None,
    *,
    scores: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """``relu(sum_c w_c A_c)`` of a layer's maps A, where w_c is the mean of d score / d A_c over the positions.

    Args:
        model: mode, gradients, weights and hooks are unchanged afterwards.
        inputs: ``(N, C, H, W)``, preprocessed.
        layer: dotted name, usually of the last stage (``backbone.layer4``).
        classes: one per image; None for the predicted ones.
        scores: maps inputs to ``(N, classes)`` before any softmax; None for the model itself.

    Returns:
        Non-negative ``(N, h, w)`` at the layer's resolution, not normalised.

    Raises:
        ValueError: the layer does not exist (near names are listed), has no maps, or does not influence the score
            except through a class token; or a class is out of range.
    """
    with undisturbed(model), captured(model, [layer]) as outputs, torch.enable_grad():
        # With a gradient on the inputs, layers with frozen weights get one too.
        score, _ = pick((scores or model)(inputs.detach().clone().requires_grad_()), classes)
        output = output_of(outputs, layer)
        gradient = torch.autograd.grad(score.sum(), output, allow_unused=True)[0]
    if gradient is None:
        raise ValueError(f'The class score does not depend on the layer {layer!r}. Name a layer before the head.')
    if output.dim() == 3 and gradient.any() and not as_maps(gradient, layer).any():
        raise ValueError(
            f'The class score depends only on the class token of the layer {layer!r}. Name an earlier layer, such as '
            'the norm before the attention of the last block (backbone.layers.11.ln1).'
        )
    weights = as_maps(gradient, layer).mean((2, 3), keepdim=True)
    return (weights * as_maps(output.detach(), layer)).sum(1).relu()
