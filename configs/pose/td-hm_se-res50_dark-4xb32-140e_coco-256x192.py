"""SimpleBaseline (ResNet-50) with Squeeze-and-Excitation for keypoints on COCO (Table 8).

    tools/dist_train.sh configs/pose/td-hm_se-res50_dark-4xb32-140e_coco-256x192.py 4

Train configs/imagenet/se-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   36.53 M parameters, 5.45 GMACs at 256 x 192.
Paper:  73.6 keypoint AP. Not measured here.
"""

_base_ = ['./td-hm_res50_dark-4xb32-140e_coco-256x192.py', '../_base_/attentions/se.py']

model = dict(
    backbone=dict(
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')],
        init_cfg=dict(checkpoint='work_dirs/se-resnet50_8xb32_in1k/epoch_100.pth'),
    )
)
