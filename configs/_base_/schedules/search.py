# The optimizers of a search. The weights follow section 4.2, and clipping and alpha's optimizer the authors' code. A
# variable of its own, because the training config that a search builds on has an optim_wrapper:
#     optim_wrapper = dict(_base_.search_optim_wrapper, _delete_=True)
search_optim_wrapper = dict(
    constructor='mmhoga.SearchOptimWrapperConstructor',
    weights=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.025, momentum=0.9, weight_decay=3e-4),
        clip_grad=dict(max_norm=5),
    ),
    alpha=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-3, betas=(0.5, 0.999), weight_decay=1e-3)),
)
