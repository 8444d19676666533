"""The cost of derived cells: its count, its expectation, its table, and the effect of its weight."""

import json
import math
from pathlib import Path

import pytest
import torch
from cells import random_genotype

from mmhoga.genotype import PRIMITIVES, edge_list, uniform
from mmhoga.models import HOGA, SearchableHOGA
from mmhoga.models.complexity import count
from mmhoga.search import SearchModel
from mmhoga.search.costs import ExpectedCost, genotype_cost, operation_complexity
from mmhoga.search.latency import measure, read_latencies, write_latencies

SHAPE = (16, 6, 5)


def built_cost(metric='macs', weight=1.0, primitives=PRIMITIVES, table=None):
    cells = {'a': SearchableHOGA(16, primitives=primitives)}
    term = ExpectedCost(cells, {'a': SHAPE}, {'': ['a']}, metric=metric, weight=weight, table=table)
    return lambda alpha: term({'': alpha})


def cost_of(alpha, *args, **kwargs):
    return built_cost(*args, **kwargs)(alpha)


@pytest.mark.parametrize('seed', range(3))
def test_derived_cells_differ_only_in_the_cost_of_their_edges(seed):
    """Differences between whole cells equal differences between their edges."""
    cells = {'a': SearchableHOGA(16)}
    one, other = random_genotype(4, seed), uniform('skip_connect')
    whole = [count(HOGA(16, genotype=genotype), SHAPE) for genotype in (one, other)]
    edges = [genotype_cost(cells, {'a': SHAPE}, genotype) for genotype in (one, other)]
    assert whole[0].params - whole[1].params == edges[0].params - edges[1].params
    assert whole[0].macs - whole[1].macs == edges[0].macs - edges[1].macs


def test_the_expectation_is_that_of_sampled_genotypes():
    """Compared with the definition: the mean cost of genotypes drawn edge by edge, without ``none``."""
    torch.manual_seed(0)
    alpha = torch.randn(3, 4)
    primitives = ('none', 'skip_connect', 'se', 'norm_3x3')
    cells = {'a': SearchableHOGA(8, num_groups=2, primitives=primitives)}
    term = ExpectedCost(cells, {'a': (8, 6, 5)}, {'': ['a']}, metric='params', weight=2.0)({'': alpha})
    costs = torch.tensor([operation_complexity(name, 4, 6, 5, 4).params for name in primitives[1:]]).double()
    p = alpha[:, 1:].double().softmax(-1)
    expected = sum(
        p[0, i] * p[1, j] * p[2, k] * (costs[i] + costs[j] + costs[k])
        for i in range(3) for j in range(3) for k in range(3)
    )  # fmt: skip
    assert term.item() == pytest.approx(2 * expected.item() / (3 * costs.max().item()), rel=1e-5)


def test_its_gradient():
    alpha = torch.randn(10, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(built_cost(), [alpha])
    gradient = torch.autograd.grad(cost_of(alpha), [alpha])[0]
    assert (gradient[:, 0] == 0).all(), 'none is never derived, so it cannot lower the cost'
    assert (gradient[:, PRIMITIVES.index('skip_connect')] < 0).all()


def test_cells_of_one_alpha_are_added_up(toy):
    both = SearchModel(toy(), cost=dict(metric='macs', weight=1.0, input_shape=(1, 8, 8)))
    assert len(both.cells()) == 2
    shape = (8, 4, 4)
    single = ExpectedCost({'a': both.cells()[0]}, {'a': shape}, {'': ['a']}, metric='macs', weight=1.0)
    torch.testing.assert_close(both.cost({'': both.alpha}), single({'': both.alpha}))


def test_building_it_does_not_change_the_model(toy):
    def built(**kwargs):
        torch.manual_seed(1)
        return SearchModel(toy(), **kwargs)

    plain, weighed = built(), built(cost=dict(metric='macs', weight=1.0, input_shape=(1, 8, 8)))
    for (name, value), other in zip(plain.state_dict().items(), weighed.state_dict().values()):
        assert torch.equal(value, other), name
    assert plain.state_dict().keys() == weighed.state_dict().keys()
    assert weighed.training


def test_a_rising_weight_makes_the_derived_cell_cheaper(toy):
    """One batch, 15 steps, four weights."""
    data = {'inputs': torch.randn(8, 1, 8, 8), 'gt_label': torch.arange(8)}
    macs = []
    for weight in (0.0, 0.3, 1.0, 10.0):
        torch.manual_seed(0)
        model = SearchModel(toy(), cost=dict(metric='macs', weight=weight, input_shape=(1, 8, 8)))
        adam = torch.optim.Adam(model.alphas, 0.2)
        for _ in range(15):
            with model.differentiating_alpha() as alphas:
                loss, log = model.alpha_loss(data)
                grads = torch.autograd.grad(loss, alphas)
            assert log['cost'] <= weight
            for alpha, grad in zip(alphas, grads):
                alpha.grad = grad
            adam.step()
        cells = model.named_cells()
        macs.append(genotype_cost(cells, dict.fromkeys(cells, (8, 4, 4)), model.genotype()).macs)
    assert macs == sorted(macs, reverse=True) and macs[0] > macs[-1] == 0, macs


def test_a_latency_table_is_measured_read_and_used(tmp_path):
    names = ('skip_connect', 'se', 'cbam')
    keys = [(name, 4, 6, 5) for name in names]
    measured = measure([(key, torch.nn.Identity()) for key in keys], seconds=1e-3)
    assert all(value > 0 for value in measured.values())
    path = str(tmp_path / 'latency.json')
    entries = {('se', 4, 6, 5): 1.0, ('cbam', 4, 6, 5): 3.0}
    write_latencies(path, entries, {'device': 'toy'})
    assert read_latencies(path) == entries
    assert json.loads(Path(path).read_text())['meta'] == {'device': 'toy'}
    alpha = torch.zeros(10, 3)
    term = cost_of(alpha, 'latency', 1.0, names, path)
    assert term.item() == pytest.approx((0 + 1 + 3) / 3 / 3)


def test_a_missing_entry_is_named_with_the_command_that_measures_it(tmp_path):
    path = str(tmp_path / 'latency.json')
    write_latencies(path, {('se', 4, 6, 5): 1.0}, {})
    with pytest.raises(ValueError, match=r"no entry for 'cbam' on 4 channels of 6 x 5.*mmhoga latency CONFIG --out"):
        cost_of(torch.zeros(10, 2), 'latency', 1.0, ('se', 'cbam'), path)
    with pytest.raises(FileNotFoundError, match=r'Measure one: mmhoga latency'):
        read_latencies(tmp_path / 'no.json')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"format": "mmhoga.lat', 'was cut off'),
        ('[]', 'not a latency table'),
        ('{"format": "mmhoga.genotype", "version": 1}', 'expected'),
        ('{"format": "mmhoga.latency_table", "version": 1, "entries": [{"primitive": "se"}]}', 'channels'),
        (
            '{"format": "mmhoga.latency_table", "version": 1, "entries": '
            '[{"primitive": "se", "channels": 4, "height": 4, "width": 4, "milliseconds": NaN}]}',
            'invalid latency nan ms',
        ),
    ],
)
def test_damaged_tables(tmp_path, text, message):
    (tmp_path / 'latency.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_latencies(tmp_path / 'latency.json')


@pytest.mark.parametrize(
    ('cost', 'message'),
    [
        (dict(metric='flops', weight=1), 'must be one of'),
        (dict(metric='macs', weight=-1), 'must be finite'),
        (dict(metric='macs', weight=float('nan')), 'must be finite'),
        (dict(metric='latency', weight=1), 'needs cost.table'),
        (dict(metric='macs', weight=1, table='x.json'), 'other metrics take none'),
        (dict(metric='macs', weight=1, input_shape=(8, 8)), 'channels, height, width'),
    ],
)
def test_bad_cost_terms(toy, cost, message):
    with pytest.raises(ValueError, match=message):
        SearchModel(toy(), cost={'input_shape': (1, 8, 8), **cost})


def test_edges_that_all_cost_nothing():
    term = cost_of(torch.zeros(10, 1), primitives=('skip_connect',))
    assert term.item() == 0 and math.isfinite(term.item())
    assert len(edge_list(4)) == 10
