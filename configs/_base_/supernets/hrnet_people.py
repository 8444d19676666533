# The pose estimator of configs/search/hoga-search_hrnet_1xb16-6e_people.py: a supernet in each block of the branches of
# HRNet, after the second norm and before the addition, as in a ResNet-18.
_base_ = '../models/hrnet_people.py'

# The backbone is trained from scratch, so the cells start at random; for a pretrained one leave `start` out.
model = dict(
    backbone=dict(
        type='mmhoga.Insert',
        into='HRNet',
        cell=dict(type='mmhoga.SearchableHOGA'),
        after=r'stage\d\.\d\.branches\.\d\.\d\.bn2',
        start='random',
    )
)
