"""Faster R-CNN with FPN at a size for a CPU, on generated shapes; the baseline of hoga-*.

    mmhoga make-data
    mmhoga train configs/demo/faster-rcnn_r18_fpn_1xb8-10e_shapes.py

Results: docs/demo_hosts.md.
"""

_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/demo_10e.py',
    'mmdet::_base_/default_runtime.py',
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
randomness = dict(seed=0)
# mmengine deletes the oldest checkpoint before it writes the new one; with two, one always remains.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
model = dict(
    data_preprocessor=dict(mean=[60, 60, 60], std=[60, 60, 60]),
    backbone=dict(_delete_=True, type='mmhoga.ResNet', depth=18, base_channels=16, out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=128, num_classes=3),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=50),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50), rcnn=dict(max_per_img=20)),
)
