"""RetinaNet (ResNet-50-FPN) with HOGA on COCO, trained with mmdet's 1x schedule.

    tools/dist_train.sh configs/detection/retinanet_r50-hoga_fpn_1x_coco.py 8

Train configs/imagenet/hoga-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   41.80 M parameters, 262.55 GMACs at 800 x 1333.
Paper:  no number. Not measured here.
"""

_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', '../_base_/attentions/hoga.py']
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        type='mmhoga.ResNet',
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv2')],
        init_cfg=dict(checkpoint='work_dirs/hoga-resnet50_8xb32_in1k/epoch_100.pth', prefix='backbone.'),
    )
)
