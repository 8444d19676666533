import copy

import pytest
import torch
from cells import random_genotype, randomize
from textbook import supernet as textbook_supernet

from mmhoga.genotype import PRIMITIVES, edge_list, num_edges
from mmhoga.models import HOGA, SearchableHOGA, derive_genotype


def one_hot_alpha(genotype) -> torch.Tensor:
    alpha = torch.full((num_edges(genotype.num_groups), len(PRIMITIVES)), -1e9, dtype=torch.float64)
    for row, (j, k) in enumerate(edge_list(genotype.num_groups)):
        alpha[row, PRIMITIVES.index(genotype.operation(j, k))] = 0
    return alpha


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('num_groups', [1, 2, 4, 8])
def test_equation_13_with_all_gradients(num_groups, training):
    torch.manual_seed(0)
    summary = 'nodes' if training else 'inputs'
    cell = randomize(SearchableHOGA(16, num_groups=num_groups, summary=summary).double()).train(training)
    oracle = copy.deepcopy(cell)
    x = torch.randn(3, 16, 5, 6, dtype=torch.float64)
    expected = textbook_supernet(oracle, x)
    actual = cell(x)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    probe = torch.randn_like(expected)
    (expected * probe).sum().backward()
    (actual * probe).sum().backward()
    for (name, parameter), expected_parameter in zip(cell.named_parameters(), oracle.parameters()):
        torch.testing.assert_close(parameter.grad, expected_parameter.grad, rtol=1e-8, atol=1e-8, msg=name)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('num_groups', [1, 2, 4, 8])
def test_a_one_hot_supernet_equals_the_derived_cell(num_groups, training):
    torch.manual_seed(0)
    genotype = random_genotype(num_groups, seed=num_groups)
    supernet = randomize(SearchableHOGA(16, num_groups=num_groups).double()).train(training)
    supernet.alpha.data.copy_(one_hot_alpha(genotype))
    derived = supernet.derive(genotype)
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(derived(x), supernet(x), rtol=1e-10, atol=1e-10)


def test_derived_statistics_follow_the_supernets():
    torch.manual_seed(0)
    genotype = random_genotype(4, seed=1)
    supernet = SearchableHOGA(16)
    supernet.alpha.data.copy_(one_hot_alpha(genotype))
    derived = supernet.derive(genotype)
    x = torch.randn(8, 16, 6, 6)
    supernet(x), derived(x)
    torch.testing.assert_close(derived.eval()(x), supernet.eval()(x))


def test_alpha_has_one_row_per_edge_and_starts_small():
    torch.manual_seed(0)
    cell = SearchableHOGA(16, num_groups=4)
    assert cell.alpha.shape == (10, 9)
    assert 0 < cell.alpha.std() < 3e-3  # 1e-3 N(0, 1), section 4.2


def test_derivation_takes_the_most_likely_except_none():
    alpha = torch.zeros(3, 9)
    alpha[:, 0] = 9  # none, everywhere
    alpha[0, 4] = alpha[1, 8] = alpha[2, 1] = 1
    assert derive_genotype(alpha).edges == (('spatial_3x3',), ('cbam', 'skip_connect'))


@pytest.mark.parametrize('alpha', [torch.zeros(4, 9), torch.zeros(3, 8), torch.full((1, 9), torch.nan)])
def test_derivation_rejects_an_invalid_alpha(alpha):
    with pytest.raises(ValueError, match='alpha'):
        derive_genotype(alpha)


def test_a_subset_of_primitives():
    cell = SearchableHOGA(8, num_groups=2, primitives=('se', 'skip_connect'))
    cell.alpha.data.copy_(torch.tensor([[0.0, 1], [1, 0], [0, 1]]))
    genotype = derive_genotype(cell.alpha, cell.primitives)
    assert genotype.edges == (('skip_connect',), ('se', 'skip_connect'))
    assert isinstance(cell.derive(), HOGA)
    with pytest.raises(ValueError, match="o_0_0 is 'cbam', which is not among the candidates"):
        cell.derive([['cbam'], ['se', 'se']])
    with pytest.raises(ValueError, match='K = 4, but this supernet has K = 2'):
        cell.derive('autola')


@pytest.mark.parametrize('primitives', [('none',), (), ('se', 'se'), ('se', 'pool')])
def test_bad_primitives(primitives):
    with pytest.raises(ValueError):
        SearchableHOGA(8, primitives=primitives)
