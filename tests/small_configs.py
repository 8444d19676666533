"""Configs of small networks with HOGA: a classifier, two detectors and a pose model."""

PLUGIN = "plugins=[dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')]"

CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[78.0], std=[96.0], to_rgb=False),
    backbone=dict(type='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=8, PLUGINS),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32),
)
dataset = dict(type='mmhoga.Digits', split='test', indices=INDICES, pipeline=[dict(type='PackInputs')])
test_dataloader = dict(batch_size=32, dataset=dataset)
"""

BACKBONE = """
backbone = dict(
    type='mmhoga.ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=OUT, norm_eval=False,
    plugins=[dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')])
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
"""

DETECTOR = (
    BACKBONE.replace('OUT', '(1, 2, 3)')
    + """
default_scope = 'mmdet'
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=mean, std=std, bgr_to_rgb=True, pad_size_divisor=32),
    backbone=backbone,
    neck=dict(type='FPN', in_channels=[16, 32, 64], out_channels=8, num_outs=3),
    bbox_head=dict(
        type='RetinaHead', num_classes=3, in_channels=8, stacked_convs=1, feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss')),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(
        nms_pre=50, min_bbox_size=0, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10))
test_dataloader = dict(dataset=dict(type='CocoDataset', pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(80, 48), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
"""
)

TWO_STAGE = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        _delete_=True, type='mmhoga.ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3),
        norm_eval=False, plugins=[dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')]),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8), bbox_head=dict(in_channels=8, fc_out_channels=8, num_classes=3)),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20)))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(80, 48), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
"""

POSE = (
    BACKBONE.replace('OUT', '(3,)')
    + """
default_scope = 'mmpose'
codec = dict(type='MSRAHeatmap', input_size=(64, 96), heatmap_size=(8, 12), sigma=1)
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=mean, std=std, bgr_to_rgb=True),
    backbone=backbone,
    head=dict(
        type='HeatmapHead', in_channels=64, out_channels=5, deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4),
        loss=dict(type='KeypointMSELoss'), decoder=codec))
test_dataloader = dict(dataset=dict(type='CocoDataset', pipeline=[
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs')]))
"""
)

SEARCH = """
default_scope = 'mmpretrain'
model = dict(
    type='mmhoga.SearchModel',
    architecture=dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=8,
            plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA'), position='after_conv2')]),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=32)))
"""
