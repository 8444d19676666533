_base_ = [
    '../_base_/datasets/shapes_classification.py',
    '../_base_/schedules/demo_10e.py',
    'mmpretrain::_base_/default_runtime.py',
]

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=2)
val_cfg = dict()
test_cfg = dict()
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhoga.ResNet', depth=18, base_channels=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=128),
)
