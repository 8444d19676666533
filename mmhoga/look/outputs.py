"""The outputs of any network in one form: a score per image and class, and maps of a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_NO_SCORES = (
    'This model returns no scores per class, as classifiers, pose models with heatmaps, and one- and two-stage '
    'detectors do. attention-maps, selectivity and tsne work without class scores.'
)


def class_scores(output: Any, num_classes: int | None = None) -> Tensor:
    """``(N, classes)`` logits from the output of ``model(inputs, mode='tensor')``.

    The output is a classifier's ``(N, classes)``, a pose model's heatmaps ``(N, keypoints, H, W)``, or the maps
    ``(N, anchors * num_classes, H, W)`` of each level of a one-stage detector. The logits are their maxima over
    positions, anchors and levels.

    Raises:
        ValueError: any other output, such as that of detectors with queries or of regression heads.
    """
    if isinstance(output, (tuple, list)) and len(output) == 1:
        output = output[0]
    if isinstance(output, Tensor) and output.dim() == 2:
        return output
    if isinstance(output, Tensor) and output.dim() == 4:
        return output.amax((2, 3))
    if num_classes and isinstance(output, (tuple, list)):
        levels = output[0] if isinstance(output[0], (tuple, list)) else output
        if all(isinstance(level, Tensor) and level.dim() == 4 and level.size(1) % num_classes == 0 for level in levels):
            best = [level.unflatten(1, (-1, num_classes)).amax((1, 3, 4)) for level in levels]
            return torch.stack(best).amax(0)
    raise ValueError(_NO_SCORES)


def proposal_scores(output: Any, num_classes: int) -> Tensor:
    """``(1, classes)`` logits of a two-stage detector for one image: the maximum over its proposals.

    The last item of the output is the RoI head's pair of scores ``(proposals, num_classes [+ 1])``, with or without the
    background, and boxes. A cascade has lists with one entry per stage instead.

    Raises:
        ValueError: any other output, or no proposal.
    """
    scores = output
    for item in (-1, 0, -1, 0):  # the RoI head, its scores, the last stage of a cascade, the only image
        if isinstance(scores, (tuple, list)):
            scores = scores[item]
    if not isinstance(scores, Tensor) or scores.dim() != 2 or scores.size(1) not in (num_classes, num_classes + 1):
        raise ValueError(_NO_SCORES)
    if not len(scores):
        raise ValueError('The detector proposes no region in this image, so it has no class score. Try another image.')
    return scores[:, :num_classes].amax(0, keepdim=True)


def pick(scores: Tensor, classes: Sequence[int] | Tensor | None) -> tuple[Tensor, Tensor]:
    """The scores of the given classes, and their indices, ``(N,)`` each; None picks the highest score per image.

    Raises:
        ValueError: a class is out of range, or there is not one class per image.
    """
    if classes is None:
        chosen = scores.argmax(1)
    else:
        chosen = torch.as_tensor(classes, dtype=torch.long, device=scores.device)
    if chosen.shape != scores.shape[:1]:
        raise ValueError(f'{tuple(chosen.shape)} classes for {len(scores)} images: give one class per image.')
    wrong = chosen[(chosen < 0) | (chosen >= scores.size(1))]
    if len(wrong):
        raise ValueError(f'There is no class {int(wrong[0])}: this model has the classes 0 to {scores.size(1) - 1}.')
    return scores.gather(1, chosen[:, None]).squeeze(1), chosen


def as_maps(output: Tensor, layer: str = 'the layer') -> Tensor:
    """``(N, C, H, W)`` from maps, from tokens ``(N, L, C)`` or from vectors ``(N, C)``.

    Tokens must form a square; up to two tokens before them (class, distillation) are dropped.

    Raises:
        ValueError: any other shape.
    """
    if output.dim() == 4:
        return output
    if output.dim() == 2:
        return output[:, :, None, None]
    if output.dim() == 3:
        side = math.isqrt(output.size(1))
        extra = output.size(1) - side * side
        if extra <= 2:
            return output[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    raise ValueError(
        f'{layer} returns a tensor of shape {tuple(output.shape)}, not maps (N, C, H, W), tokens (N, L, C) of a '
        'square image, or vectors (N, C). Name another layer.'
    )


def pooled(output: Tensor, layer: str = 'the layer') -> Tensor:
    """The mean of each channel over the positions, ``(N, C)``."""
    return as_maps(output, layer).mean((2, 3))


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation of ``(N, h, w)`` to ``(N, H, W)``."""
    return F.interpolate(maps.unsqueeze(1), size=tuple(size), mode='bilinear', align_corners=False).squeeze(1)
