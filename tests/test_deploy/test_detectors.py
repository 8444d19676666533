"""Whole detectors of mmdet as functions of images: boxes, scores and labels equal those of mmdet's own prediction."""

import importlib.util

import pytest
import torch
from small_configs import DETECTOR, TWO_STAGE
from tensorrt import unsupported
from torch import nn

from mmhoga.deploy import Detector, Maps, check_detections, export_onnx, fuse, run_onnx
from mmhoga.deploy.detectors import Candidates, suppressed
from mmhoga.hosts import build_model, load_config

pytest.importorskip('mmdet')

onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ('onnx', 'onnxruntime', 'onnxscript')),
    reason="onnx, onnxruntime and onnxscript are not installed: pip install 'mmhoga[deploy]'",
)
HEAD = 'bbox_head=dict(_delete_=True, num_classes=3, {}), test_cfg=dict(score_thr={}, nms_pre=50, max_per_img=20))'
CHANGES = {
    'RetinaNet': 'model = dict(test_cfg=dict(score_thr=0.4))',
    'SSD': 'model = dict('
    + HEAD.format(
        "type='SSDHead', in_channels=(8, 8, 8), bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1] * 4), "
        "anchor_generator=dict(type='SSDAnchorGenerator', input_size=64, strides=[8, 16, 32], scale_major=False, "
        'min_sizes=[10, 20, 40], max_sizes=[20, 40, 60], ratios=[[2], [2, 3], [2]])',
        0.1,
    ),
    'FCOS': 'model = dict('
    + HEAD.format(
        "type='FCOSHead', in_channels=8, feat_channels=8, stacked_convs=1, norm_cfg=None, strides=[8, 16, 32]", 0.3
    ),
    'class-agnostic NMS': "model = dict(test_cfg=dict(score_thr=0.4, nms=dict(type='nms', class_agnostic=True)))",
    'Faster R-CNN': 'model = dict(test_cfg=dict(rcnn=dict(score_thr=0.05), rpn=dict(min_bbox_size=2)))',
}
SIZES = ((2, 3, 64, 96), (1, 3, 50, 77))


def build(folder, base, change):
    (folder / 'base.py').write_text(base)
    (folder / 'config.py').write_text(f"_base_ = 'base.py'\n{change}\n")
    torch.manual_seed(0)
    model = build_model(load_config(str(folder / 'config.py'))).eval()
    for name, head in model.named_modules():
        if name in ('bbox_head', 'rpn_head', 'roi_head'):
            for parameter in head.parameters():
                nn.init.normal_(parameter, std=0.3)
    return model


def detector(folder, name):
    return build(folder, TWO_STAGE if name == 'Faster R-CNN' else DETECTOR, CHANGES[name])


def predicted(model, x):
    from mmdet.structures import DetDataSample

    shape = tuple(x.shape[-2:])
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0))
    results = model.predict(x, [DetDataSample(metainfo=meta) for _ in x], rescale=False)
    return [result.pred_instances for result in results]


@pytest.mark.parametrize('name', CHANGES)
@torch.no_grad()
def test_boxes_are_those_of_mmdet(tmp_path, name):
    model, found = detector(tmp_path, name), 0
    for size in SIZES:
        x = torch.randn(size)
        boxes, scores, labels = Detector(model)(x)
        for i, expected in enumerate(predicted(model, x)):
            number = len(expected)
            found += number
            torch.testing.assert_close(boxes[i, :number], expected.bboxes)
            torch.testing.assert_close(scores[i, :number], expected.scores)
            assert torch.equal(labels[i, :number], expected.labels)
            assert (labels[i, number:] == -1).all() and not scores[i, number:].any() and not boxes[i, number:].any()
    assert found > 10


@onnx
@torch.no_grad()
def test_onnx_of_two_stages(tmp_path):
    """On a plain backbone of 2 levels: the test of ``mmhoga export`` has a RetinaNet with HOGA."""
    change = """
model = dict(
    backbone=dict(_delete_=True, type='mmhoga.CIFARResNet', depth=8, base_channels=8, out_indices=(1, 2)),
    neck=dict(in_channels=[16, 32], num_outs=2),
    rpn_head=dict(anchor_generator=dict(strides=[2, 4])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[2, 4], finest_scale=8)),
    test_cfg=dict(rcnn=dict(score_thr=0.2)))
"""
    model, x = build(tmp_path, TWO_STAGE, change), torch.randn(2, 3, 24, 32)
    fused = fuse(Maps(Detector(model)), x).detector
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    file = tmp_path / 'detector.onnx'
    export_onnx(fused, x, file)
    for size in ((1, 3, 24, 32), (3, 3, 33, 22)):
        x = torch.randn(size)
        expected = Detector(model)(x)
        assert (expected[2] >= 0).sum() > 5
        check_detections(run_onnx(file, x), expected, 1e-4)
    assert not unsupported(file.read_bytes())


def config(**kwargs):
    from mmengine.config import ConfigDict

    return ConfigDict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=3, **kwargs)


def test_nms_keeps_images_and_labels_apart():
    box = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [100, 100, 120, 120]])
    boxes = torch.stack((box, box))
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.2, -1]])  # the last one is padding
    labels = torch.tensor([[0, 1, 0], [2, 2, 2]])
    found = suppressed(Candidates(boxes, scores, labels), config())
    assert found.labels[0].tolist() == [0, 1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([[0.9, 0.8, 0.7], [0.2, -1, -1]]))
    assert found.boxes[1, 0].tolist() == [1, 0, 11, 10]
    none = suppressed(Candidates(boxes, torch.full_like(scores, -1), labels), config())
    assert (none.scores == -1).all()


@pytest.mark.parametrize(
    ('base', 'change', 'reason'),
    [
        (DETECTOR, "model = dict(test_cfg=dict(nms=dict(type='soft_nms')))", "its NMS is .*'soft_nms'"),
        (DETECTOR, 'model = dict(test_cfg=dict(nms_pre=-1))', 'nms_pre is missing in the test_cfg of RetinaHead'),
        (
            DETECTOR,
            "model = dict(bbox_head=dict(_delete_=True, type='GFLHead', num_classes=3, in_channels=8, "
            "anchor_generator=dict(type='AnchorGenerator', ratios=[1.0], octave_base_scale=8, scales_per_octave=1, "
            "strides=[8, 16, 32]), loss_bbox=dict(type='GIoULoss')))",
            'GFLHead has a prediction of its own',
        ),
        (
            TWO_STAGE,
            'model = dict(roi_head=dict(bbox_roi_extractor=dict('
            "roi_layer=dict(_delete_=True, type='RoIPool', output_size=7))))",
            'RoIPool is not followed here',
        ),
    ],
)
def test_what_is_refused(tmp_path, base, change, reason):
    model = build(tmp_path, base, change)
    with pytest.raises(ValueError, match=reason):
        Detector(model)


def test_a_model_without_boxes_is_refused():
    with pytest.raises(ValueError, match='Sequential has no head that predicts boxes'):
        Detector(nn.Sequential())


def test_detections_that_differ():
    torch.manual_seed(0)
    expected = torch.rand(2, 5, 4) * 100, torch.rand(2, 5), torch.randint(3, (2, 5))
    order = torch.randperm(5)
    actual = tuple(part[:, order].clone() for part in expected)
    check_detections(actual, expected, 1e-5)
    for part, change in zip(actual, (1.0, 0.01, 1)):
        part[0, 0] += change
        with pytest.raises(AssertionError, match='1 of 10 detections have no counterpart'):
            check_detections(actual, expected, 1e-4)
        part[0, 0] -= change
    actual[2][0, 0] = -1
    with pytest.raises(AssertionError, match='1 of 10 detections have no counterpart among 9'):
        check_detections(actual, expected, 1e-4)
