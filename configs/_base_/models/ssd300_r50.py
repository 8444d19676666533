# mmdet's SSD300 with ResNet-50 up to conv4_x instead of VGG-16 (supplement; as in NVIDIA's reference SSD).
_base_ = 'mmdet::_base_/models/ssd300.py'

model = dict(
    data_preprocessor=dict(std=[58.395, 57.12, 57.375]),  # mmdet: 1, for Caffe's VGG
    backbone=dict(
        _delete_=True,
        type='mmhoga.ResNet',
        depth=50,
        num_stages=3,
        strides=(1, 2, 1),  # conv4_x keeps its input's size of 38 x 38
        out_indices=(2,),
        frozen_stages=-1,
        norm_eval=False,
    ),
    neck=dict(
        in_channels=(1024,),
        out_channels=(1024, 512, 512, 256, 256, 256),
        level_strides=(2, 2, 2, 1, 1),
        level_paddings=(1, 1, 1, 0, 0),
        l2_norm_scale=None,
        norm_cfg=dict(type='BN'),
    ),
    bbox_head=dict(in_channels=(1024, 512, 512, 256, 256, 256)),
)
