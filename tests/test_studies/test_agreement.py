"""The agreement of several genotypes."""

import pytest

from mmhoga.genotype import BUILTIN, uniform
from mmhoga.studies.agreement import agreement


def test_agreement_of_three():
    one, other = BUILTIN['autola'], BUILTIN['autola_release']
    pairwise, edges = agreement([one, one, other])
    assert pairwise == pytest.approx((10 + 9 + 9) / 30)
    assert edges[2, 3] == [('spatial_3x3', 2), ('norm_3x3', 1)]
    assert agreement([uniform('se'), uniform('cbam')])[0] == 0
    with pytest.raises(ValueError, match='K = 2, 4'):
        agreement([uniform('se', 2), one])
    with pytest.raises(ValueError, match='found 1'):
        agreement([one])
