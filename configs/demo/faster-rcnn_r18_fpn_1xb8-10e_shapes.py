"""Faster R-CNN with FPN at a size for a CPU, on generated shapes; the baseline of hoga-*.

    mmhoga make-data
    mmhoga train configs/demo/faster-rcnn_r18_fpn_1xb8-10e_shapes.py

Results: docs/demo_hosts.md.
"""

_base_ = [
    '../_base_/models/faster-rcnn_r18_fpn_shapes.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/demo_10e.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
randomness = dict(seed=0)
# mmengine deletes the oldest checkpoint before it writes the new one; with two, one always remains.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
