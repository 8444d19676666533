_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(optimizer=dict(lr=0.01))  # mmdet: 0.02, for 8 GPUs
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=14, milestones=[8, 11], gamma=0.1),
]
train_cfg = dict(max_epochs=14)  # mmdet: 12
auto_scale_lr = dict(base_batch_size=8)
