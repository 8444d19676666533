"""mmdet's detectors as functions of images alone, with NMS inside, for files that return boxes.

The operations are those of mmdet's own prediction in a form without loops over images and with sizes that an exporter
can follow. Numbers that vary are replaced by fixed ones and padding, except inside NMS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Keys of a config of mmcv's batched_nms that are followed here; split_thr changes the cost only.
NMS_KEYS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}
NO_BOX = -1.0  # the score of what is not a candidate


class Candidates(NamedTuple):
    """Boxes before or after NMS, per image: ``(N, B, 4)``, ``(N, B)`` and ``(N, B)``. Padding has the score NO_BOX."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(nn.Module):
    """A detector of mmdet as a function of normalised images ``(N, C, H, W)``.

    Returns:
        boxes ``(N, M, 4)`` in pixels of the input as x1, y1, x2, y2; scores ``(N, M)`` in descending order; labels
        ``(N, M)``. M is ``max_per_img`` of the config; unused rows have boxes and scores of 0 and the label -1.

    Raises:
        ValueError: the prediction of the model is not one that is followed here.
    """

    output_names = ('boxes', 'scores', 'labels')

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        head: Any = getattr(model, 'rpn_head' if self._has_roi_head() else 'bbox_head', None)
        _require(head is not None, f'{type(model).__name__} has no head that predicts boxes on a grid')
        self._check_dense(head)
        if self._has_roi_head():
            self._check_roi_head(self.model.roi_head)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = x.shape[-2:]
        features = self.model.extract_feat(x)
        if not self._has_roi_head():
            head = self.model.bbox_head
            found = suppressed(dense_candidates(head, head(features), size), head.test_cfg)
        else:
            head = self.model.rpn_head
            levels = dense_candidates(head, head(features), size, by_level=True)
            proposals = suppressed(levels, head.test_cfg)
            found = suppressed(self._roi_candidates(features, proposals, size), self.model.roi_head.test_cfg)
        used = found.scores > NO_BOX
        labels = torch.where(used, found.labels, torch.full_like(found.labels, -1))
        return found.boxes * used.unsqueeze(2), found.scores.clamp(min=0), labels

    def maps(self, x: Tensor) -> list[Any]:
        """The outputs of the layers, without the choice of boxes. Rounding changes them little."""
        features = self.model.extract_feat(x)
        if not self._has_roi_head():
            return [features, self.model.bbox_head(features)]
        height, width = x.shape[-2:]
        corners = x.new_tensor([[0.0, 0.0, width, height], [0.0, 0.0, width / 4, height / 4]])
        rois = torch.cat((x.new_zeros(2, 1), corners), 1)
        return [features, self.model.rpn_head(features), self._roi_outputs(features, rois)]

    def _has_roi_head(self) -> bool:
        return getattr(self.model, 'roi_head', None) is not None

    def _roi_outputs(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        head = self.model.roi_head
        pooled = roi_features(head.bbox_roi_extractor, features, rois)
        return head.bbox_head(head.shared_head(pooled) if head.with_shared_head else pooled)

    def _roi_candidates(self, features: Sequence[Tensor], proposals: Candidates, size: Sequence[int]) -> Candidates:
        """A candidate per proposal and class."""
        head, cfg = self.model.roi_head.bbox_head, self.model.roi_head.test_cfg
        images, number = proposals.scores.shape
        image = torch.arange(images, device=proposals.boxes.device).to(proposals.boxes.dtype)
        rois = torch.cat((image.view(-1, 1, 1).expand(-1, number, 1), proposals.boxes), 2).flatten(0, 1)
        logits, deltas = self._roi_outputs(features, rois)
        scores = logits.softmax(-1)[:, :-1]
        boxes = clipped(head.bbox_coder, head.bbox_coder.decode(rois[:, 1:], deltas).view(rois.size(0), -1, 4), size)
        classes = scores.size(1)
        used = (proposals.scores > NO_BOX).unsqueeze(2) & (scores > cfg.score_thr).view(images, number, classes)
        labels = torch.arange(classes, device=boxes.device).expand(images, number, -1)
        return Candidates(
            boxes.expand(-1, classes, -1).reshape(images, -1, 4),
            torch.where(used, scores.view(images, number, classes), NO_BOX).flatten(1),
            labels.flatten(1),
        )

    @staticmethod
    def _check_dense(head: Any) -> None:
        base = 'RPNHead' if _owner(head, '_predict_by_feat_single') == 'RPNHead' else 'BaseDenseHead'
        for name in ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process'):
            owners = ('BaseDenseHead', base) if name[0] == '_' else ('BaseDenseHead',)
            _require(_owner(head, name) in owners, f'{type(head).__name__} has a prediction of its own')
        _require(head.test_cfg.get('nms_pre', -1) > 0, f'nms_pre is missing in the test_cfg of {type(head).__name__}')
        _require(
            not getattr(head.loss_cls, 'custom_cls_channels', False),
            f'{type(head.loss_cls).__name__} has an activation of its own',
        )
        _check_nms(head)

    @staticmethod
    def _check_roi_head(head: Any) -> None:
        name = type(head).__name__
        _require(_owner(head, 'predict_bbox') == 'StandardRoIHead', f'{name} has a prediction of its own')
        _require(not head.with_mask, 'masks are not exported')
        box_head, extractor = head.bbox_head, head.bbox_roi_extractor
        standard = _owner(box_head, 'predict_by_feat') == _owner(box_head, '_predict_by_feat_single') == 'BBoxHead'
        _require(
            standard and not box_head.custom_cls_channels, f'{type(box_head).__name__} has a prediction of its own'
        )
        _require(
            _owner(extractor, 'forward') == 'SingleRoIExtractor', f'{type(extractor).__name__} is not followed here'
        )
        layers = {type(layer).__name__ for layer in extractor.roi_layers}
        _require(layers == {'RoIAlign'}, f'{", ".join(sorted(layers))} is not followed here')
        _check_nms(head)


def is_detector(model: nn.Module) -> bool:
    """Whether a model has a head for boxes."""
    return any(getattr(model, name, None) is not None for name in ('bbox_head', 'rpn_head', 'roi_head'))


class Maps(nn.Module):
    """:meth:`Detector.maps` as a module."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> list[Any]:
        return self.detector.maps(x)


def dense_candidates(head: Any, outputs: Sequence[Any], size: Sequence[int], by_level: bool = False) -> Candidates:
    """The best ``nms_pre`` pairs of prior and class per level, as in mmdet's ``BaseDenseHead`` and ``RPNHead``.

    Args:
        outputs: of the head: per level logits ``(N, A C, h, w)``, box deltas, and maybe factors of the scores.
        size: H and W of the images.
        by_level: NMS is within a level, as in a region proposal network, and not within a class.
    """
    cfg = head.test_cfg
    sizes = [logits.shape[-2:] for logits in outputs[0]]
    first = outputs[0][0]
    priors = head.prior_generator.grid_priors(sizes, dtype=first.dtype, device=first.device)
    levels = []
    for level, (logits, deltas, *factors) in enumerate(zip(*outputs)):
        logits = _rows(logits, head.cls_out_channels)
        scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        classes = scores.size(2)
        if not by_level and 'score_thr' in cfg:
            scores = torch.where(scores > cfg.score_thr, scores, NO_BOX)
        scores, index = best(scores.flatten(1), cfg.nms_pre)
        prior = torch.div(index, classes, rounding_mode='floor')
        labels = torch.full_like(index, level) if by_level else index - prior * classes
        dim = head.bbox_coder.encode_size
        deltas = _rows(deltas, dim).gather(1, prior.unsqueeze(2).expand(-1, -1, dim))
        boxes = head.bbox_coder.decode(priors[level][prior].flatten(0, 1), deltas.flatten(0, 1))
        boxes = clipped(head.bbox_coder, boxes, size).view(scores.size(0), -1, 4)
        used = scores > NO_BOX
        for factor in factors:
            scores = scores * _rows(factor, 1).squeeze(2).gather(1, prior).sigmoid()
        if cfg.get('min_bbox_size', -1) >= 0:
            used = used & ((boxes[..., 2:] - boxes[..., :2]) > cfg.min_bbox_size).all(2)
        levels.append(Candidates(boxes, torch.where(used, scores, NO_BOX), labels))
    return Candidates(*(torch.cat(parts, 1) for parts in zip(*levels)))


def suppressed(found: Candidates, cfg: Any) -> Candidates:
    """The best ``max_per_img`` of each image after NMS within each label.

    One NMS serves all images and labels, because their boxes are moved apart: by label to the right, as in mmcv, and
    by image downwards.
    """
    from torchvision.ops import nms

    boxes, scores, labels = found
    if cfg.nms.get('class_agnostic', False):
        labels = torch.zeros_like(labels)
    image = torch.arange(scores.size(0), device=labels.device).unsqueeze(1).expand(-1, scores.size(1))
    shift = torch.stack((labels, image), 2).to(boxes.dtype) * (boxes.max() + 1)
    apart, flat = (boxes + torch.cat((shift, shift), 2)).flatten(0, 1), scores.flatten()
    candidates = (flat > NO_BOX).nonzero().squeeze(1)
    kept = candidates[nms(apart[candidates], flat[candidates], cfg.nms.iou_threshold)]
    scores = torch.full_like(flat, NO_BOX).scatter(0, kept, flat[kept]).view(scores.shape)
    scores, index = best(scores, cfg.max_per_img)
    return Candidates(boxes.gather(1, index.unsqueeze(2).expand(-1, -1, 4)), scores, found.labels.gather(1, index))


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of ``(N, B)`` in descending order, padded with NO_BOX, and their indices."""
    padded = torch.cat((scores, scores.new_full((scores.size(0), count), NO_BOX)), 1)
    values, index = padded.topk(count)
    return values, torch.where(values > NO_BOX, index, torch.zeros_like(index))


def clipped(coder: Any, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes ``(..., 4)`` within the image, if the coder clips."""
    if not getattr(coder, 'clip_border', True):
        return boxes
    height, width = size
    return torch.stack((boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)), -1).flatten(-2)


def roi_features(extractor: Any, features: Sequence[Tensor], rois: Tensor) -> Tensor:
    """RoIAlign of rois ``(R, 5)``, each on the level of its size. Every level is pooled for all, then one is chosen."""
    from torchvision.ops import roi_align

    features = features[: extractor.num_inputs]
    level = extractor.map_roi_levels(rois, len(features)).view(-1, 1, 1, 1)
    total: Any = 0
    for i, (layer, maps) in enumerate(zip(extractor.roi_layers, features)):
        pooled = roi_align(maps, rois, layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned)
        total = total + pooled * (level == i)
    return total


def _rows(maps: Tensor, width: int) -> Tensor:
    """``(N, A width, h, w)`` to ``(N, h w A, width)``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.size(0), -1, width)


def _owner(module: Any, method: str) -> str:
    """The class that defines a method."""
    return getattr(getattr(module, method, None), '__qualname__', '').rpartition('.')[0]


def _check_nms(head: Any) -> None:
    nms = dict(head.test_cfg.get('nms') or {})
    others = sorted(set(nms) - NMS_KEYS)
    _require(nms.get('type') == 'nms' and not others, f'its NMS is {nms}, and only plain NMS is followed here')


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(f'{reason}.')
