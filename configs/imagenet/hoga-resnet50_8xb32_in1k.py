"""ResNet-50 with the HOGA of the paper (Fig. 3) on ImageNet (Tables 4 and 5).

    tools/dist_train.sh configs/imagenet/hoga-resnet50_8xb32_in1k.py 8

To train with a genotype that you have searched, add
--cfg-options model.backbone.plugins.0.cfg.genotype=work_dirs/YOUR_SEARCH/genotype.json

Cost:   29.39 M parameters, 4.70 GMACs at 224 x 224 (paper: 29.39 M, 4.73 G).
Paper:  21.82 % top-1 error. Not measured here.
"""

_base_ = ['./resnet50_8xb32_in1k.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
