"""The search model: shared alpha, contexts, optimizers, and errors."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmhoga.models import SearchableHOGA
from mmhoga.search import SearchModel


def wrappers(model, **weights):
    return build_optim_wrapper(
        model,
        dict(
            constructor='mmhoga.SearchOptimWrapperConstructor',
            weights=dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=1e-4), **weights),
            alpha=dict(optimizer=dict(type='Adam', lr=0.1)),
        ),
    )


def batch(n=4):
    return {'inputs': torch.randn(n, 1, 8, 8), 'gt_label': torch.arange(n)}


def test_all_cells_hold_one_alpha(toy):
    model = SearchModel(toy())
    assert len(model.cells()) == 2
    assert all(cell.alpha is model.alpha for cell in model.cells())
    assert sum(parameter is model.alpha for parameter in model.parameters()) == 1


def test_sharing_survives_copies_and_checkpoints(toy):
    model = SearchModel(toy())
    twin = copy.deepcopy(model)
    assert all(cell.alpha is twin.alpha for cell in twin.cells()) and twin.alpha is not model.alpha
    model.alpha.data.normal_()
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin.alpha, model.alpha)
    assert all(cell.alpha is twin.alpha for cell in twin.cells())


def test_shared_alphas_gradient_is_the_sum_over_cells(toy):
    shared = SearchModel(toy()).double()
    apart = copy.deepcopy(shared.architecture)
    for cell in (cells := [m for m in apart.modules() if isinstance(m, SearchableHOGA)]):
        cell.alpha = torch.nn.Parameter(shared.alpha.detach().clone())
    data = {**batch(), 'inputs': torch.randn(4, 1, 8, 8, dtype=torch.float64)}
    with shared.differentiating_alpha() as (alpha,):
        (gradient,) = torch.autograd.grad(shared.loss(data)[0], [alpha])
    parts = torch.autograd.grad(apart(**data, mode='loss')['loss'], [cell.alpha for cell in cells])
    torch.testing.assert_close(gradient, sum(parts))


def test_a_step_on_the_weights_computes_no_gradient_of_alpha(toy):
    model = SearchModel(toy())
    model.loss(batch())[0].backward()
    assert model.alpha.grad is None
    assert all(p.grad is not None for p in model.parameters() if p is not model.alpha)
    with pytest.raises(KeyError), model.differentiating_alpha():
        raise KeyError
    assert not model.alpha.requires_grad


def test_each_parameter_belongs_to_exactly_one_optimizer(toy):
    model = SearchModel(toy())
    for paramwise in ({}, dict(paramwise_cfg=dict(norm_decay_mult=0.0))):
        built = wrappers(model, **paramwise)
        weights = [p for group in built['weights'].optimizer.param_groups for p in group['params']]
        assert not any(p is model.alpha for p in weights)
        assert {id(p) for p in weights} | {id(model.alpha)} == {id(p) for p in model.parameters()}
        assert [p for g in built['alpha'].optimizer.param_groups for p in g['params']] == [model.alpha]


def test_bad_optimizers(toy):
    with pytest.raises(ValueError, match='must hold "weights" and "alpha"'):
        build_optim_wrapper(
            SearchModel(toy()),
            dict(constructor='mmhoga.SearchOptimWrapperConstructor', optimizer=dict(type='SGD', lr=1)),
        )
    with pytest.raises(ValueError, match='has no alpha to search'):
        wrappers(torch.nn.Linear(2, 2))


def test_a_model_without_supernets(toy):
    model = toy()
    model.cells = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"no cell of type 'mmhoga.HOGA' or 'mmhoga.SearchableHOGA'"):
        SearchModel(model)


def test_cells_that_differ_cannot_share(toy):
    model = toy()
    model.cells[1] = SearchableHOGA(8, num_groups=4)
    with pytest.raises(ValueError, match=r'need the same K and primitives; found K = 2 .*; K = 4'):
        SearchModel(model)


def test_the_runners_data_preprocessor_reaches_the_architecture():
    cfg = dict(type='ToyClassifier')
    model = SearchModel(cfg, data_preprocessor=dict(type='BaseDataPreprocessor', non_blocking=True))
    assert model.architecture.data_preprocessor._non_blocking
    assert model.data_preprocessor is model.architecture.data_preprocessor
