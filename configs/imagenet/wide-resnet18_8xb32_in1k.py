"""Wide ResNet-18 (width 1.5) without attention on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/wide-resnet18_8xb32_in1k.py 8

The width is inferred from the paper's parameters with SE and CBAM. In this row the paper prints the error in place of
the parameters.

Cost:   25.88 M parameters, 3.87 GMACs at 224 x 224 (paper: 26.85 M, 3.87 G).
Paper:  26.85 % top-1 error. Not measured here.
"""

_base_ = './resnet18_8xb32_in1k.py'

model = dict(
    backbone=dict(base_channels=96, stem_channels=64),
    head=dict(in_channels=768),
)
