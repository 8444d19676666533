"""SSD on a three-stage ResNet (Table 7) at a size for a CPU, on generated shapes; the baseline of hoga-*.

    mmhoga make-data
    mmhoga train configs/demo/ssd_r18_1xb8-20e_shapes.py

Results: docs/demo_hosts.md.
"""

_base_ = [
    'mmdet::_base_/models/ssd300.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/demo_10e.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=20, T_max=20, convert_to_iter_based=True),
]
randomness = dict(seed=0)
# mmengine deletes the oldest checkpoint before it writes the new one; with two, one always remains.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
model = dict(
    data_preprocessor=dict(mean=[60, 60, 60], std=[60, 60, 60]),
    backbone=dict(
        _delete_=True,
        type='mmhoga.ResNet',
        depth=18,
        base_channels=16,
        num_stages=3,
        strides=(1, 2, 1),
        out_indices=(2,),
    ),
    neck=dict(
        in_channels=(64,),
        out_channels=(64, 64, 64),
        level_strides=(2, 1),
        level_paddings=(1, 1),
        l2_norm_scale=None,
        norm_cfg=dict(type='BN'),
    ),
    bbox_head=dict(
        in_channels=(64, 64, 64),
        num_classes=3,
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            strides=[8, 16, 16],
            ratios=[[2], [2], [2]],
            min_sizes=[17, 25, 35],
            max_sizes=[25, 35, 50],
        ),
    ),
)
