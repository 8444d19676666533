"""ResNet-34 with CBAM on ImageNet (Table 4).

    tools/dist_train.sh configs/imagenet/cbam-resnet34_8xb32_in1k.py 8

Cost:   21.96 M parameters, 3.67 GMACs at 224 x 224 (paper: 21.96 M, 3.67 G).
Paper:  25.99 % top-1 error. Not measured here.
"""

_base_ = ['./resnet34_8xb32_in1k.py', '../_base_/attentions/cbam.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
