"""Search the attention of a pose estimator on its own loss: SimpleBaseline on generated people, at a size for a CPU.

    mmhoga make-data people
    mmhoga train configs/search/hoga-search_simple-baseline_r18_1xb16-6e_people.py

Then train what was found, through the ordinary plugin:

    mmhoga train configs/demo/hoga-td-hm_r18_1xb16-10e_people.py --cfg-options \
        model.backbone.plugins.0.cfg.genotype=work_dirs/hoga-search_simple-baseline_r18_1xb16-6e_people/genotype.json

For an estimator of your own: its config with SearchableHOGA plugins is the base, and the rest of this file stays.
"""

_base_ = '../_base_/supernets/simple-baseline_r18_people.py'

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
    _delete_=True,
    constructor='mmhoga.SearchOptimWrapperConstructor',
    weights=dict(
        type='OptimWrapper',
        optimizer=dict(type='Adam', lr=2e-3),
        clip_grad=dict(max_norm=5),
    ),
    alpha=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-2, betas=(0.5, 0.999))),
)
param_scheduler = dict(
    _delete_=True,
    weights=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25),
        dict(type='CosineAnnealingLR', eta_min=1e-4, by_epoch=True, T_max=6),
    ],
)
auto_scale_lr = dict(base_batch_size=16)

custom_hooks = [dict(type='mmhoga.GenotypeHook')]
randomness = dict(seed=0)
