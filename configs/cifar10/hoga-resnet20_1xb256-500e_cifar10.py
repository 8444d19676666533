"""ResNet-20 with the HOGA of the paper (Fig. 3) on CIFAR-10 (Tables 1 and 6).

    mmhoga train configs/cifar10/hoga-resnet20_1xb256-500e_cifar10.py

To train with a genotype that you have searched, add
--cfg-options model.backbone.plugins.0.cfg.genotype=work_dirs/YOUR_SEARCH/genotype.json

Cost:   0.33 M parameters, 0.05 GMACs at 32 x 32 (paper: 0.34 M, 0.05 G).
Paper:  93.38 % top-1 accuracy. Not measured here.
"""

_base_ = ['./resnet20_1xb256-500e_cifar10.py', '../_base_/attentions/hoga.py']

model = dict(backbone=dict(plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')]))
