"""SimpleBaseline (Table 8) at a size for a CPU, on generated people; the baseline of hoga-*.

    mmhoga make-data
    mmhoga train configs/demo/td-hm_r18_1xb16-10e_people.py

Results: docs/demo_hosts.md.
"""

_base_ = [
    '../_base_/datasets/people_keypoints.py',
    '../_base_/schedules/demo_10e.py',
    'mmpose::_base_/default_runtime.py',
]

train_cfg = dict(max_epochs=10, val_interval=2)
randomness = dict(seed=0)
# mmengine deletes the oldest checkpoint before it writes the new one; with two, one always remains.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[60, 60, 60], std=[60, 60, 60], bgr_to_rgb=True),
    backbone=dict(type='mmhoga.ResNet', depth=18, base_channels=16),
    head=dict(
        type='HeatmapHead',
        in_channels=128,
        out_channels=17,
        deconv_out_channels=(64, 64, 64),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=_base_.codec,
    ),
    test_cfg=dict(flip_test=False),
)
