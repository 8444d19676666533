"""A search on the losses of a detector: Faster R-CNN on generated shapes, at a size for a CPU.

    mmhoga make-data shapes
    mmhoga train configs/search/hoga-search_faster-rcnn_r18_fpn_1xb8-6e_shapes.py

Then train the detector with the searched genotype:

    mmhoga train configs/demo/hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes.py --cfg-options \
        model.backbone.plugins.0.cfg.genotype=work_dirs/hoga-search_faster-rcnn_r18_fpn_1xb8-6e_shapes/genotype.json

docs/search_space.md shows how to search with a detector of your own.

Cost:   not measured.
Paper:  no number.
"""

_base_ = ['../demo/hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes.py', '../_base_/schedules/search.py']

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
