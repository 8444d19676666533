"""Search the attention of a detector on its own losses: Faster R-CNN on generated shapes, at a size for a CPU.

    mmhoga make-data shapes
    mmhoga train configs/search/hoga-search_faster-rcnn_r18_fpn_1xb8-6e_shapes.py

Then train what was found, through the ordinary plugin:

    mmhoga train configs/demo/hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes.py --cfg-options \
        model.backbone.plugins.0.cfg.genotype=work_dirs/hoga-search_faster-rcnn_r18_fpn_1xb8-6e_shapes/genotype.json

For a detector of your own: its config with SearchableHOGA plugins is the base, and the rest of this file stays.
"""

_base_ = '../_base_/supernets/faster-rcnn_r18_fpn_shapes.py'

model = dict(_delete_=True, type='mmhoga.SearchModel', architecture={{_base_.model}})

train_dataloader = dict(
    dataset=dict(_delete_=True, type='mmhoga.RandomSplit', part='A', dataset={{_base_.train_dataloader.dataset}}),
)
alpha_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(type='mmhoga.RandomSplit', part='B', dataset={{_base_.train_dataloader.dataset}}),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

train_cfg = dict(
    _delete_=True, type='mmhoga.SearchLoop', alpha_dataloader=alpha_dataloader, max_epochs=6, val_interval=6
)
optim_wrapper = dict(
    _delete_=True,
    constructor='mmhoga.SearchOptimWrapperConstructor',
    weights=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
        clip_grad=dict(max_norm=5),
    ),
    alpha=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-2, betas=(0.5, 0.999))),
)
param_scheduler = dict(
    _delete_=True,
    weights=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25),
        dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, T_max=6),
    ],
)
auto_scale_lr = dict(base_batch_size=8)

custom_hooks = [dict(type='mmhoga.GenotypeHook')]
randomness = dict(seed=0)
