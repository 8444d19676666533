"""ResNet-50 with attention-augmented convolutions (Bello et al. 2019) on ImageNet (Table 5).

    tools/dist_train.sh configs/imagenet/augatt-resnet50_8xb32_in1k.py 8

The paper repeats the figures of Bello et al., who count two operations per MAC. Images can be at most 224 x 224.

Cost:   24.30 M parameters, 4.02 GMACs at 224 x 224 (paper: 24.30 M, 7.90 G).
Paper:  22.30 % top-1 error. Not measured here.
"""

_base_ = './resnet50_8xb32_in1k.py'

# Attention computes a quarter of the channels of the 3x3 convolutions, from the second stage on. The second stage
# attends at half its resolution.
augmented = dict(type='mmhoga.AugmentedConv2d', key_ratio=0.25, value_ratio=0.25, num_heads=8)
model = dict(
    backbone=dict(
        stage_conv_cfgs=[
            None,
            dict(augmented, feat_size=14, attention_stride=2),
            dict(augmented, feat_size=14),
            dict(augmented, feat_size=7),
        ]
    )
)
