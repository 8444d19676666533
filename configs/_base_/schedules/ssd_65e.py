_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=5e-4),  # mmdet: 0.02, 1e-4
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=65, milestones=[43, 54], gamma=0.1),
]
train_cfg = dict(max_epochs=65)
auto_scale_lr = dict(base_batch_size=128)
