"""A search in CSPNeXt, which takes no plugins: a narrow RTMDet on generated shapes, at a size for a CPU.

    mmhoga make-data shapes
    mmhoga train configs/search/hoga-search_rtmdet_1xb8-6e_shapes.py

Then train the detector with the searched genotype:

    mmhoga train configs/demo/hoga-rtmdet_1xb8-10e_shapes.py --cfg-options \
        model.backbone.cell.genotype=work_dirs/hoga-search_rtmdet_1xb8-6e_shapes/genotype.json

docs/searching.md shows how to search in a backbone of your own.

Cost:   not measured.
Paper:  no number.
"""

_base_ = [
    '../_base_/supernets/rtmdet_shapes.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/search.py',
    'mmdet::_base_/default_runtime.py',
]

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

train_cfg = dict(type='mmhoga.SearchLoop', alpha_dataloader=alpha_dataloader, max_epochs=6, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    weights=dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05)),
    alpha=dict(optimizer=dict(lr=3e-2)),
)
param_scheduler = dict(
    weights=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25),
        dict(type='CosineAnnealingLR', eta_min=1e-4, by_epoch=True, T_max=6),
    ],
)
auto_scale_lr = dict(base_batch_size=8)

default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
custom_hooks = [dict(type='mmhoga.GenotypeHook')]
randomness = dict(seed=0)
