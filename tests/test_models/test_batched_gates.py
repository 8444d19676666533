"""Batched gates equal the gates of the single candidates; test_supernet.py compares them with the equations."""

import copy
import pickle

import pytest
import torch
from cells import randomize
from textbook import supernet as textbook_supernet

from mmhoga.genotype import PRIMITIVES
from mmhoga.models import OPERATIONS, AttentionOperation, SearchableHOGA
from mmhoga.models.fast.batched_gates import LEARNED, BatchedGates


def apart(cell):
    """A copy that computes its gates one by one."""
    cell = copy.deepcopy(cell)
    for bundle in (cell.inputs, *cell.nodes):
        assert bundle.batched_gates is not None
        bundle.batched_gates = None
    return cell


def results(cell, x):
    """Output, all gradients and all statistics."""
    x = x.clone().requires_grad_()
    y = cell(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in cell.named_parameters()}
    statistics = {name: b.clone() for name, b in cell.named_buffers() if 'num_batches' in name or 'running' in name}
    return dict(y=y, x=x.grad, **gradients, **statistics)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(('num_groups', 'width'), [(1, 8), (2, 16), (4, 16), (8, 16), (4, 64)])
def test_everything_agrees_to_1e_10(num_groups, width, training):
    cell = randomize(SearchableHOGA(width, num_groups=num_groups).double()).train(training)
    x = torch.randn(3, width, 5, 6, dtype=torch.float64)
    for _ in range(2):  # the second time with changed statistics
        expected, actual = results(apart(cell), x), results(cell, x)
        assert expected.keys() == actual.keys() and 'inputs.cbam.bn.num_batches_tracked' in actual
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
        cell.zero_grad()


@pytest.mark.parametrize('order', [PRIMITIVES[::-1], (*LEARNED, 'none'), tuple(LEARNED), ('cbam', 'se', 'norm_3x3')])
def test_candidates_in_any_order_and_number(order):
    cell = randomize(SearchableHOGA(8, num_groups=2, primitives=order).double())
    assert (cell.inputs.batched_gates is not None) == (set(LEARNED) <= set(order))
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(cell(x), textbook_supernet(copy.deepcopy(cell), x), rtol=1e-10, atol=1e-10)


def test_a_registered_candidate_is_added(monkeypatch):
    class Dimmed(AttentionOperation):
        def gate(self, edge_input):
            return edge_input.x.new_full((), 0.5)

    monkeypatch.setitem(OPERATIONS, 'dimmed', Dimmed)
    cell = randomize(SearchableHOGA(8, num_groups=2, primitives=('dimmed', *PRIMITIVES)).double())
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(cell(x), apart(cell)(x), rtol=1e-10, atol=1e-10)
    monkeypatch.setitem(OPERATIONS, 'se', Dimmed)
    assert SearchableHOGA(8, num_groups=2).inputs.batched_gates is None, "'se' has another class"


def test_changed_norms_turn_batching_off():
    cell = SearchableHOGA(8, num_groups=2)
    mixed = cell.inputs
    operations = {name: mixed[name] for name in mixed.primitives}
    assert BatchedGates.is_applicable(operations)
    mixed['norm_3x3'].convs[2].eval()  # as norm_eval does
    assert not BatchedGates.is_applicable(operations)
    frozen = mixed['norm_3x3'].convs[2].running_mean.clone()
    cell(torch.randn(2, 8, 5, 5))
    assert torch.equal(mixed['norm_3x3'].convs[2].running_mean, frozen)
    synchronized = torch.nn.SyncBatchNorm.convert_sync_batchnorm(SearchableHOGA(8)).inputs
    assert not BatchedGates.is_applicable({name: synchronized[name] for name in synchronized.primitives})


def test_hessian_vector_products():
    """The second-order step differentiates twice."""
    cell = randomize(SearchableHOGA(8, num_groups=2).double())
    x = torch.randn(3, 8, 5, 5, dtype=torch.float64)
    products = []
    for form in (cell, apart(cell)):
        parameters = list(form.parameters())
        first = torch.autograd.grad(form(x).square().sum(), parameters, create_graph=True)
        products.append(torch.autograd.grad(sum(g.sum() for g in first), parameters))
    torch.testing.assert_close(*products, rtol=1e-8, atol=1e-8)


def test_nothing_is_added_to_a_checkpoint():
    cell = SearchableHOGA(8, num_groups=2)
    names = {name.split('.')[1] for name in cell.state_dict() if name.startswith('inputs.')}
    assert names == set(LEARNED)
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(pickle.loads(pickle.dumps(cell))(x), cell(x))
