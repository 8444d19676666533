"""The operations of ``mmcv._ext`` that SSD, RetinaNet, Faster and Mask R-CNN need, from torchvision and torch.

They have the signatures that mmcv 2.1's Python code calls: some return the result, others write it to an argument.
They run on every device that torchvision supports, except soft-NMS and NMS matching, which mmcv runs on the CPU.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _torchvision_ops() -> Any:
    try:
        import torchvision.ops
    except ImportError as error:
        raise ImportError(
            "this mmcv is not compiled, and mmhoga's replacement of its operations needs torchvision. Install the "
            f'release of torchvision that belongs to torch {torch.__version__}.'
        ) from error
    return torchvision.ops


def _at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision: torchvision lacks it on the CPU, and it is too coarse for large coordinates."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _iou_with(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """IoU of one box (4,) with boxes (N, 4), with widths ``x2 - x1 + offset``."""
    top_left = torch.maximum(box[:2], boxes[:, :2])
    bottom_right = torch.minimum(box[2:], boxes[:, 2:])
    intersection = (bottom_right - top_left + offset).clamp(min=0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    area = (box[2:] - box[:2] + offset).prod()
    return intersection / (area + areas - intersection)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept ones of boxes (N, 4), by descending score. ``offset=1`` if x2 and y2 are inside the box."""
    boxes, scores = _at_least_float32(boxes), _at_least_float32(scores)
    # Moving the far corner by the offset gives the same areas and intersections as adding it to every width.
    boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return _torchvision_ops().nms(boxes, scores.to(boxes), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., 2017). Methods: 0 naive, 1 linear, 2 gaussian.

    Writes the M kept boxes with their decayed scores to the first rows of ``dets`` (N, 5), in the order of selection,
    and returns their indices (M,). A box is dropped when its decayed score falls below ``min_score``. The first box is
    kept whatever its score, as in mmcv.
    """
    scores = scores.clone()
    left = torch.arange(len(boxes))
    chosen: list[Tensor] = []
    while len(left):
        best = int(scores[left].argmax())
        index = left[best]
        dets[len(chosen), :4] = boxes[index]
        dets[len(chosen), 4] = scores[index]
        chosen.append(index)

        left = torch.cat([left[:best], left[best + 1 :]])
        iou = _iou_with(boxes[index], boxes[left], offset)
        if method == 2:
            decay = torch.exp(-(iou**2) / sigma)
        else:
            overlapping = 1 - iou if method == 1 else torch.zeros_like(iou)
            decay = torch.where(iou >= iou_threshold, overlapping, torch.ones_like(iou))
        scores[left] *= decay
        left = left[scores[left] >= min_score]
    return torch.stack(chosen) if chosen else left


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """NMS of dets (N, 5) as groups by descending score: each kept box, followed by the boxes that it suppresses."""
    left = dets[:, 4].argsort(descending=True)
    groups = []
    while len(left):
        matched = _iou_with(dets[left[0], :4], dets[left, :4], offset=0) >= iou_threshold
        matched[0] = True  # the IoU of an empty box with itself is NaN
        groups.append(left[matched].tolist())
        left = left[~matched]
    return groups


def _roi_align(
    input: Tensor,
    rois: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> Tensor:
    if pool_mode != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs a compiled mmcv. Install one, or remove 'pool_mode' from the config "
            "to use the default, 'avg'."
        )
    size = (aligned_height, aligned_width)
    return _torchvision_ops().roi_align(input, rois.to(input), size, spatial_scale, sampling_ratio, aligned)


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **options: Any
) -> None:
    """Write RoIAlign of input (N, C, H, W) at rois (R, 5) into ``output`` (R, C, h, w)."""
    output.copy_(_roi_align(_at_least_float32(input), rois, **options))


def roi_align_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor, **options: Any
) -> None:
    """Write the gradient of RoIAlign's input into ``grad_input`` (N, C, H, W)."""
    # RoIAlign is linear in its input, so the gradient can be taken at zero.
    grad_output = _at_least_float32(grad_output)
    with torch.enable_grad():
        zeros = grad_output.new_zeros(grad_input.shape, requires_grad=True)
        (gradient,) = torch.autograd.grad(_roi_align(zeros, rois, **options), zeros, grad_output)
    grad_input.copy_(gradient)


def _sigmoid_focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    input = _at_least_float32(input)
    positive = target[:, None] == torch.arange(input.size(1), device=input.device)  # (N, C)
    probability = input.sigmoid()
    loss = torch.where(
        positive,
        -alpha * (1 - probability) ** gamma * F.logsigmoid(input),
        -(1 - alpha) * probability**gamma * F.logsigmoid(-input),
    )
    return loss * weight[target][:, None] if weight.numel() else loss


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the focal loss (Lin et al., 2017) of logits (N, C) and class indices (N,) into ``output`` (N, C).

    Index C is background, negative for all C classes. ``weight`` is empty or has one number per class.
    """
    output.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of the summed focal loss into ``grad_input`` (N, C)."""
    with torch.enable_grad():
        logits = input.detach().requires_grad_()
        loss = _sigmoid_focal_loss(logits, target, weight, gamma, alpha).sum()
        grad_input.copy_(torch.autograd.grad(loss, logits)[0])


def get_compiler_version() -> str:
    """Appears in mmcv's report of the environment, so a log shows that the stand-in is in use."""
    return 'none (mmhoga stands in for mmcv._ext)'


OPERATIONS: dict[str, Callable[..., Any]] = dict(
    nms=nms,
    softnms=softnms,
    nms_match=nms_match,
    roi_align_forward=roi_align_forward,
    roi_align_backward=roi_align_backward,
    sigmoid_focal_loss_forward=sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward=sigmoid_focal_loss_backward,
    get_compiler_version=get_compiler_version,
    get_compiling_cuda_version=get_compiler_version,
)
