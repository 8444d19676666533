"""The cost of whole networks."""

import pytest
from torch import nn

from mmhoga.models import HOGA
from mmhoga.models.complexity import Complexity, count
from mmhoga.studies.costs import NetworkCost


def network(genotype):
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Dropout(), HOGA(8, genotype=genotype))


@pytest.mark.parametrize('genotype', ['hog_se', 'autola'])
def test_parameters_and_macs_are_those_of_the_whole_network(genotype):
    model = network(genotype)
    costs = [NetworkCost(name, (6, 4))(model) for name in ('params', 'macs')]
    assert Complexity(*costs) == count(model, (3, 6, 4)) and costs[0] > 3 * 8 + 8


def test_latency_is_measured_in_milliseconds():
    """A network with 30 times as much work takes longer. Training mode is restored."""
    small, large = network('hog_se'), nn.Sequential(network('hog_se'), *(HOGA(8) for _ in range(30)))
    times = [NetworkCost('latency', (6, 4))(model) for model in (small, large)]
    assert 0 < times[0] < times[1] < 10_000
    assert all(module.training for module in large.modules())


def test_a_network_without_hoga_is_refused():
    with pytest.raises(ValueError, match='has no HOGA cell'):
        NetworkCost('params', (6, 4))(nn.Conv2d(3, 8, 1))
