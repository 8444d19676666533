# The detector of configs/search/hoga-search_rtmdet_1xb8-6e_shapes.py: a supernet after each stage of CSPNeXt.
_base_ = '../models/rtmdet_shapes.py'

# The backbone is trained from scratch, so the cells start at random; for a pretrained one leave `start` out.
model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='CSPNeXt',
        cell=dict(type='mmhoga.SearchableHOGA'),
        after=r'stage\d',
        start='random',
    )
)
