"""SimpleBaseline (Table 8) at a size for a CPU, on generated figures; the baseline of hoga-*.

    python tools/make_shapes.py
    python tools/train.py configs/demo/td-hm_r18_1xb16-10e_figures.py

Measured: keypoint AP 0.923 on the 100 held-out images, seed 0; a minute on one CPU core, from scratch.
The figure tells that it learns, nothing about COCO.
"""

_base_ = [
    '../_base_/models/simple-baseline_r18_figures.py',
    '../_base_/schedules/demo_10e.py',
    'mmpose::_base_/default_runtime.py',
]

train_cfg = dict(max_epochs=10, val_interval=2)
randomness = dict(seed=0)
# mmengine deletes an old checkpoint before it writes the new one: with two kept, an interruption leaves one.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
