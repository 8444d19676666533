"""SimpleBaseline (Table 8) at a size for a CPU, on generated people; the baseline of hoga-*.

    mmhoga make-data
    mmhoga train configs/demo/td-hm_r18_1xb16-10e_people.py

Results: docs/demo_hosts.md.
"""

_base_ = [
    '../_base_/models/simple-baseline_r18_people.py',
    '../_base_/schedules/demo_10e.py',
    'mmpose::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

train_cfg = dict(max_epochs=10, val_interval=2)
randomness = dict(seed=0)
# mmengine deletes the oldest checkpoint before it writes the new one; with two, one always remains.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
