"""SimpleBaseline (ResNet-50) with CBAM for keypoints on COCO (Table 8).

    tools/dist_train.sh configs/pose/td-hm_cbam-res50_dark-4xb32-140e_coco-256x192.py 4

Train configs/imagenet/cbam-resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).

Cost:   36.52 M parameters, 5.46 GMACs at 256 x 192.
Paper:  73.6 keypoint AP. Not measured here.
"""

_base_ = ['./td-hm_res50_dark-4xb32-140e_coco-256x192.py', '../_base_/attentions/cbam.py']

model = dict(
    backbone=dict(
        plugins=[dict(cfg={{_base_.attention}}, position='after_conv3')],
        init_cfg=dict(checkpoint='work_dirs/cbam-resnet50_8xb32_in1k/epoch_100.pth'),
    )
)
