"""ResNet-50 with the global context blocks of GCNet on ImageNet (Table 5).

    tools/dist_train.sh configs/imagenet/gc-resnet50_8xb32_in1k.py 8

Cost:   28.11 M parameters, 4.13 GMACs at 224 x 224 (paper: 28.08 M, 3.87 G).
Paper:  22.30 % top-1 error. Not measured here.
"""

_base_ = './resnet50_8xb32_in1k.py'

attention = dict(type='ContextBlock', ratio=1 / 16)  # mmcv's
model = dict(backbone=dict(plugins=[dict(cfg=attention, position='after_conv3')]))
