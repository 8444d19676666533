"""A search in HRNet, which takes no plugins: a narrow HRNet on generated people, at a size for a CPU.

    mmhoga make-data people
    mmhoga train configs/search/hoga-search_hrnet_1xb16-6e_people.py

Then train the pose estimator with the searched genotype:

    mmhoga train configs/demo/hoga-td-hm_hrnet_1xb16-10e_people.py --cfg-options \
        model.backbone.cell.genotype=work_dirs/hoga-search_hrnet_1xb16-6e_people/genotype.json

docs/searching.md shows how to search in a backbone of your own.

Cost:   not measured.
Paper:  no number.
"""

_base_ = [
    '../_base_/supernets/hrnet_people.py',
    '../_base_/schedules/search.py',
    'mmpose::_base_/default_runtime.py',
]

model = dict(_delete_=True, type='mmhoga.SearchModel', architecture={{_base_.model}})

train_dataloader = dict(
    dataset=dict(_delete_=True, type='mmhoga.RandomSplit', part='A', dataset={{_base_.train_dataloader.dataset}}),
)
alpha_dataloader = dict(
    batch_size=16,
    num_workers=0,
    dataset=dict(type='mmhoga.RandomSplit', part='B', dataset={{_base_.train_dataloader.dataset}}),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

train_cfg = dict(
    _delete_=True, type='mmhoga.SearchLoop', alpha_dataloader=alpha_dataloader, max_epochs=6, val_interval=6
)
optim_wrapper = dict(
    weights=dict(optimizer=dict(_delete_=True, type='Adam', lr=2e-3)),
    alpha=dict(optimizer=dict(lr=3e-2)),
)
param_scheduler = dict(
    weights=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25),
        dict(type='CosineAnnealingLR', eta_min=1e-4, by_epoch=True, T_max=6),
    ],
)
auto_scale_lr = dict(base_batch_size=16)

default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
custom_hooks = [dict(type='mmhoga.GenotypeHook')]
randomness = dict(seed=0)
