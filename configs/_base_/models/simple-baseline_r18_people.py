# SimpleBaseline on a narrow ResNet-18, for the generated people, whose codec it needs.
_base_ = '../datasets/people_keypoints.py'

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
