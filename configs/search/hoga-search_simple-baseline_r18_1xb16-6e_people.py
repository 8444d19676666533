"""A search on the loss of a pose estimator: SimpleBaseline on generated people, at a size for a CPU.

    mmhoga make-data people
    mmhoga train configs/search/hoga-search_simple-baseline_r18_1xb16-6e_people.py

Then train the pose estimator with the searched genotype:

    mmhoga train configs/demo/hoga-td-hm_r18_1xb16-10e_people.py --cfg-options \
        model.backbone.plugins.0.cfg.genotype=work_dirs/hoga-search_simple-baseline_r18_1xb16-6e_people/genotype.json

docs/search_space.md shows how to search with a pose estimator of your own.

Cost:   not measured.
Paper:  no number.
"""

_base_ = ['../demo/hoga-td-hm_r18_1xb16-10e_people.py', '../_base_/schedules/search.py']

model = dict(_delete_=True, type='mmhoga.SearchModel', architecture={{_base_.model}})
split = dict(fraction=0.5, seed=0)
train_cfg = dict(_delete_=True, type='mmhoga.SearchLoop', max_epochs=6, val_interval=6, split=split)
optim_wrapper = dict(_base_.search_optim_wrapper, _delete_=True, weights=_base_.optim_wrapper)
optim_wrapper['alpha']['optimizer'].update(lr=3e-2)
param_scheduler = dict(
    _delete_=True,
    weights=[
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=25),
        dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, T_max=6),
    ],
)
