"""The replacements of mmcv's compiled operations, called through mmcv.ops and compared with slow loops."""

import math

import mmcv._ext
import numpy as np
import pytest
import torch
from mmcv.ops import (
    RoIAlign,
    box_iou_rotated,
    get_compiler_version,
    nms,
    nms_match,
    roi_align,
    sigmoid_focal_loss,
    soft_nms,
)

STANDS_IN = mmcv._ext.__spec__.origin == 'mmhoga.compat'
needs_stand_in = pytest.mark.skipif(not STANDS_IN, reason='this mmcv has compiled operations')


def iou(a, b, offset):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a, area_b = ((x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b))
    return width * height / (area_a + area_b - width * height)


def random_boxes(count, size=12):
    """Boxes with small integer corners, so that many overlap and the offset matters; all scores differ."""
    corners = torch.randint(0, size, (count, 2, 2)).sort(dim=1).values + torch.tensor([[0, 0], [1, 1]])
    return corners.reshape(count, 4).float(), torch.randperm(count).float().div(count)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.9])
def test_nms_keeps_what_greedy_suppression_keeps(threshold, offset):
    boxes, scores = random_boxes(60)
    kept = []
    for i in scores.argsort(descending=True).tolist():
        if all(iou(boxes[i].tolist(), boxes[k].tolist(), offset) <= threshold for k in kept):
            kept.append(i)

    dets, indices = nms(boxes, scores, threshold, offset=offset)

    assert indices.tolist() == kept
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


def test_nms_offset_changes_the_outcome():
    # Widths of 1 and 2 pixels: IoU 1/2 between corners, 2/3 between whole pixels.
    boxes = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.6, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.6, offset=1)[1].tolist() == [0]


def test_nms_score_threshold_limit_and_types():
    boxes, scores = random_boxes(40)
    everything = nms(boxes, scores, 0.3)[1]
    above = [i for i in everything.tolist() if scores[i] > 0.5]
    assert nms(boxes, scores, 0.3, score_threshold=0.5)[1].tolist() == above
    assert nms(boxes, scores, 0.3, max_num=3)[1].tolist() == everything.tolist()[:3]
    assert nms(boxes.numpy(), scores.numpy(), 0.3)[1].tolist() == everything.tolist()
    assert nms(boxes.half(), scores.half(), 0.3)[1].tolist() == everything.tolist()
    assert len(nms(boxes[:0], scores[:0], 0.3)[1]) == 0


def soft_nms_loop(boxes, scores, threshold, sigma, min_score, method, offset):
    """Figure 2 of Bodla et al. (2017) and its weights, Eq. (2) and (3)."""
    left = [(score, i) for i, score in enumerate(scores)]
    chosen = []
    while left:
        best = max(left)
        left.remove(best)
        chosen.append((best[1], best[0]))
        decayed = []
        for score, i in left:
            overlap = iou(boxes[best[1]], boxes[i], offset)
            if method == 'gaussian':
                score *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                score *= 1 - overlap if method == 'linear' else 0
            if score >= min_score:
                decayed.append((score, i))
        left = decayed
    return chosen


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(method, offset):
    boxes, scores = random_boxes(50)
    scores = (scores + 0.01).sqrt()  # so that no two decayed scores are equal
    options = (0.3, 0.5, 0.05, method, offset)
    expected = soft_nms_loop(boxes.tolist(), scores.tolist(), *options)

    dets, indices = soft_nms(boxes, scores, *options)

    assert 1 < len(expected) < len(boxes)
    assert indices.tolist() == [i for i, _ in expected]
    assert torch.equal(dets[:, :4], boxes[indices])
    torch.testing.assert_close(dets[:, 4], torch.tensor([s for _, s in expected]))


def test_soft_nms_of_empty_boxes():
    """The example in mmcv's docstring: empty boxes give IoUs of NaN, and five of six boxes remain."""
    boxes = torch.tensor([[4.0, 3, 5, 3], [4, 3, 5, 4]] + 4 * [[3.0, 1, 3, 1]])
    scores = torch.tensor([0.9, 0.9, 0.5, 0.5, 0.4, 0.0])
    dets, indices = soft_nms(boxes, scores, iou_threshold=0.6, sigma=0.5)
    assert len(dets) == len(indices) == 5
    assert len(soft_nms(boxes[:0], scores[:0])[1]) == 0


def test_nms_match_groups_each_kept_box_with_those_it_suppresses():
    boxes, scores = random_boxes(30)
    left = scores.argsort(descending=True).tolist()
    expected = []
    while left:
        first = boxes[left[0]].tolist()
        group = left[:1] + [i for i in left[1:] if iou(first, boxes[i].tolist(), 0) >= 0.4]
        expected.append(group)
        left = [i for i in left if i not in group]

    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)

    assert [group.tolist() for group in groups] == expected


def roi_align_loop(image, roi, size, scale, sampling_ratio, aligned):
    """RoIAlign of one channel (H, W) at one box: the mean of bilinear samples in each bin (Mask R-CNN, section 3)."""
    height, width = image.shape
    x1, y1, x2, y2 = (v * scale - (0.5 if aligned else 0.0) for v in roi)
    extent = [y2 - y1, x2 - x1] if aligned else [max(y2 - y1, 1.0), max(x2 - x1, 1.0)]
    bins = [extent[0] / size[0], extent[1] / size[1]]
    samples = [sampling_ratio or math.ceil(extent[0] / size[0]), sampling_ratio or math.ceil(extent[1] / size[1])]

    def at(y, x):
        if not (-1 <= y <= height and -1 <= x <= width):
            return 0.0
        y, x = (min(max(v, 0.0), bound - 1.0) for v, bound in ((y, height), (x, width)))
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
        top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
        bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
        return top * (1 - (y - y0)) + bottom * (y - y0)

    out = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            values = [
                at(y1 + bins[0] * (i + (m + 0.5) / samples[0]), x1 + bins[1] * (j + (n + 0.5) / samples[1]))
                for m in range(samples[0])
                for n in range(samples[1])
            ]
            out[i, j] = sum(values) / len(values)
    return out


ROIS = [[0, 1.3, 2.1, 17.9, 11.4], [1, -3.0, -2.0, 9.0, 30.0], [1, 4.2, 4.0, 4.9, 5.1]]


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align(aligned, sampling_ratio):
    features = torch.randn(2, 3, 7, 9, dtype=torch.double)
    rois = torch.tensor(ROIS, dtype=torch.double)
    expected = np.stack(
        [
            [
                roi_align_loop(channel, box, (2, 3), 0.5, sampling_ratio, aligned)
                for channel in features[int(index)].numpy()
            ]
            for index, *box in ROIS
        ]
    )

    layer = RoIAlign((2, 3), 0.5, sampling_ratio, aligned=aligned)

    np.testing.assert_allclose(layer(features, rois).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(layer(features.half(), rois.half()).numpy(), expected, atol=2e-2)
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (2, 3), 0.5, sampling_ratio, 'avg', aligned),
        features[:, :1].clone().requires_grad_(),
    )


def test_roi_align_without_rois_has_zero_gradient():
    features = torch.randn(1, 2, 5, 5, requires_grad=True)
    output = roi_align(features, torch.zeros(0, 5), (2, 2))
    assert output.shape == (0, 2, 2, 2)
    output.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize('gamma', [0.0, 2.0])
def test_sigmoid_focal_loss(gamma):
    logits = torch.randn(4, 3, dtype=torch.double)
    targets = torch.tensor([0, 2, 3, 1])  # 3 is background
    alpha = 0.25
    expected = torch.zeros_like(logits)
    for n in range(4):
        for c in range(3):
            p = 1 / (1 + math.exp(-logits[n, c].item()))
            positive = targets[n].item() == c
            p_t, alpha_t = (p, alpha) if positive else (1 - p, 1 - alpha)
            expected[n, c] = -alpha_t * (1 - p_t) ** gamma * math.log(p_t)  # Eq. (5) of Lin et al. (2017)

    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, gamma, alpha, None, 'none'), expected)
    mean = sigmoid_focal_loss(logits, targets, gamma, alpha, None, 'mean')
    torch.testing.assert_close(mean, expected.sum() / 4)
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, targets, gamma, alpha, None, 'sum'), logits.requires_grad_()
    )


def test_sigmoid_focal_loss_class_weights_and_extreme_logits():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    targets = torch.tensor([0, 0])
    weights = torch.tensor([3.0, 1.0])
    plain = sigmoid_focal_loss(logits, targets, 2.0, 0.25, None, 'none')
    weighted = sigmoid_focal_loss(logits, targets, 2.0, 0.25, weights, 'none')
    torch.testing.assert_close(weighted, 3 * plain)  # both samples are of class 0
    torch.testing.assert_close(plain, torch.tensor([[0.0, 0.0], [0.25 * 200, 0.75 * 200]]))
    weighted.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0], [-0.75, 2.25]]))


@needs_stand_in
def test_the_error_of_any_other_operation_names_it():
    with pytest.raises(NotImplementedError, match=r"'box_iou_rotated'.*mmcv-lite.*roi_align_forward.*mim install"):
        box_iou_rotated(torch.rand(2, 5), torch.rand(2, 5))
    with pytest.raises(NotImplementedError, match=r"pool_mode='max'.*compiled mmcv"):
        roi_align(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), (1, 1), 1.0, 0, 'max')
    with pytest.raises(AttributeError):
        mmcv._ext.__path__  # noqa: B018 (not a package, whatever it answers to)


@needs_stand_in
def test_the_environment_report_shows_the_stand_in():
    assert 'mmhoga' in get_compiler_version()
