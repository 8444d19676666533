"""ResNet-50 with Gather-Excite (GE-theta, a learned global gather) on ImageNet (Table 5).

    tools/dist_train.sh configs/imagenet/ge-resnet50_8xb32_in1k.py 8

The learned gather has the size of the feature maps, so images must be 224 x 224.

Cost:   31.11 M parameters, 4.12 GMACs at 224 x 224 (paper: 31.20 M, 3.87 G).
Paper:  22.00 % top-1 error. Not measured here.
"""

_base_ = './resnet50_8xb32_in1k.py'

# The variant is inferred from the paper's number of parameters.
theta = dict(type='mmhoga.Attention', name='ge', extra_params=True, extent=0, use_mlp=False)
model = dict(
    backbone=dict(
        plugins=[
            dict(cfg=dict(theta, feat_size=56), position='after_conv3', stages=(True, False, False, False)),
            dict(cfg=dict(theta, feat_size=28), position='after_conv3', stages=(False, True, False, False)),
            dict(cfg=dict(theta, feat_size=14), position='after_conv3', stages=(False, False, True, False)),
            dict(cfg=dict(theta, feat_size=7), position='after_conv3', stages=(False, False, False, True)),
        ]
    )
)
