"""ResNet-18 as a classifier of generated shapes, at a size for a CPU; the baseline of hoga-*.

    mmhoga make-data
    mmhoga train configs/demo/resnet18_1xb32-10e_shapes.py

Results: docs/demo_hosts.md.
"""

_base_ = [
    '../_base_/datasets/shapes_classification.py',
    '../_base_/schedules/demo_10e.py',
    'mmpretrain::_base_/default_runtime.py',
]

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=2)
val_cfg = dict()
test_cfg = dict()
randomness = dict(seed=0)
# mmengine deletes the oldest checkpoint before it writes the new one; with two, one always remains.
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhoga.ResNet', depth=18, base_channels=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=128),
)
