_base_ = [
    '../_base_/datasets/figures_keypoints.py',
    '../_base_/schedules/demo_10e.py',
    'mmpose::_base_/default_runtime.py',
]

train_cfg = dict(max_epochs=10, val_interval=2)
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=1))
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
