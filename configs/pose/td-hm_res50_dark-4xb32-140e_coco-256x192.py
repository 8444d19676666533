"""SimpleBaseline (ResNet-50) without attention for keypoints on COCO (Table 8).

    tools/dist_train.sh configs/pose/td-hm_res50_dark-4xb32-140e_coco-256x192.py 4

Train configs/imagenet/resnet50_8xb32_in1k.py first: the backbone starts from its checkpoint (init_cfg).
Recipe (supplement): Adam with learning rate 1e-3; batch 128; learning rate x0.1 at epochs 90 and 120 of 140. The
sub-pixel refinement is DARK, the closest method in mmpose. The input size of 256 x 192 is inferred.

Cost:   34.00 M parameters, 5.45 GMACs at 256 x 192.
Paper:  72.8 keypoint AP. Not measured here.
"""

_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_dark-8xb64-210e_coco-256x192.py'
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        type='mmhoga.ResNet',
        init_cfg=dict(
            checkpoint='work_dirs/resnet50_8xb32_in1k/epoch_100.pth',
            prefix='backbone.',
        ),
    )
)
train_dataloader = dict(batch_size=32)  # mmpose: 64 on each of 8 GPUs
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # mmpose: 5e-4
param_scheduler = [  # mmpose: a warm-up, then x0.1 at 170 and 200
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=140, milestones=[90, 120], gamma=0.1),
]
train_cfg = dict(max_epochs=140)  # mmpose: 210
auto_scale_lr = dict(base_batch_size=128)
