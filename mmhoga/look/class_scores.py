"""One score a class and image out of what a classifier, a detector or a pose model returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def class_scores(output: Any, num_classes: int | None = None) -> Tensor:
    """``(N, classes)`` logits.

    - a classifier's ``(N, classes)``: as they are;
    - a pose model's heatmaps ``(N, keypoints, H, W)``: the highest value of each;
    - a one-stage detector's maps, ``((N, anchors * classes, H, W), ...)`` a level, first in a tuple: the highest value
      over anchors, places and levels.

    For a two-stage detector, see :func:`proposal_scores`.

    Args:
        output: of ``model(inputs, mode='tensor')``.
        num_classes: of a detector's head (``cls_out_channels``); its maps do not tell.

    Raises:
        ValueError: anything else (detectors with queries, regression heads).
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
    raise ValueError(_NONE)


def proposal_scores(output: Any, num_classes: int) -> Tensor:
    """``(1, classes)`` logits of a two-stage detector for one image: the highest over its proposals, in the last stage.

    Args:
        output: of ``model(inputs, samples, mode='tensor')``: a tuple, last in it what the RoI head returned: scores
            ``(proposals, classes [+ background])``, then boxes; of a cascade a list of either, one a stage.
        num_classes: of the RoI head.

    Raises:
        ValueError: anything else, or no proposal.
    """
    scores = output[-1][0] if isinstance(output, (tuple, list)) and isinstance(output[-1], (tuple, list)) else None
    if isinstance(scores, (tuple, list)):
        scores = scores[-1]  # of a cascade, the last stage
    if isinstance(scores, (tuple, list)):
        scores = scores[0]  # and there, of the only image
    if not isinstance(scores, Tensor) or scores.dim() != 2 or scores.size(1) not in (num_classes, num_classes + 1):
        raise ValueError(_NONE)
    if not len(scores):
        raise ValueError('The detector proposes no region in this image, so no class has a score.')
    return scores[:, :num_classes].amax(0, keepdim=True)


_NONE = (
    'This model returns no score a class; a classifier, a pose model with heatmaps, a one- or two-stage detector do. '
    'The backbone of any other can be looked at without: attention maps, selectivity, t-SNE.'
)


def pick(scores: Tensor, classes: Sequence[int] | Tensor | None) -> tuple[Tensor, Tensor]:
    """The scores of the classes asked for, and these: ``(N,)`` each; None: the highest of every image.

    Raises:
        ValueError: a class out of range, or not one class an image.
    """
    if classes is None:
        chosen = scores.argmax(1)
    else:
        chosen = torch.as_tensor(classes, dtype=torch.long, device=scores.device)
    if chosen.shape != scores.shape[:1]:
        raise ValueError(f'{tuple(chosen.shape)} classes for {len(scores)} images: one class an image is needed.')
    wrong = chosen[(chosen < 0) | (chosen >= scores.size(1))]
    if len(wrong):
        raise ValueError(f'There is no class {int(wrong[0])}: this model has the classes 0 to {scores.size(1) - 1}.')
    return scores.gather(1, chosen[:, None]).squeeze(1), chosen
