"""SimpleBaseline with HOGA (Table 8) at a size for a CPU, on generated people.

    mmhoga make-data
    mmhoga train configs/demo/hoga-td-hm_r18_1xb16-10e_people.py

Results: docs/demo_hosts.md.
"""

_base_ = './td-hm_r18_1xb16-10e_people.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')]))
