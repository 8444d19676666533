"""HRNet with HOGA in each block of its branches, inserted, at a size for a CPU, on generated people.

    mmhoga make-data people
    mmhoga train configs/demo/hoga-td-hm_hrnet_1xb16-10e_people.py

Results: not measured.
"""

_base_ = [
    '../_base_/models/hrnet_people.py',
    '../_base_/schedules/demo_10e.py',
    'mmpose::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmhoga'])  # for the host's own tools with mmcv-lite

model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='HRNet',
        cell=dict(type='mmhoga.HOGA', genotype='autola'),
        after=r'stage\d\.\d\.branches\.\d\.\d\.bn2',
        start='random',  # nothing is pretrained
    )
)
train_cfg = dict(max_epochs=10, val_interval=2)
randomness = dict(seed=0)
# mmengine deletes the oldest checkpoint before it writes the new one; with two, one always remains.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
