"""``compile`` in a search's config compiles the training steps of the cells."""

import copy
import shutil

import pytest
import torch
from mmengine.runner import Runner

from mmhoga.models import SearchableHOGA
from mmhoga.search import SearchModel

PLAIN = dict(backend='eager')  # traces and guards, but generates no code


class Counting:
    """A backend of torch.compile that counts graphs."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph


def gradients(cell, x, probe):
    y = cell(x)
    return y, torch.autograd.grad((y * probe).sum(), [x, *cell.parameters()], allow_unused=True)


@pytest.mark.skipif(shutil.which('g++') is None, reason='torch.compile generates C++')
def test_a_compiled_cell_is_the_cell():
    torch.manual_seed(0)
    plain = SearchableHOGA(4, num_groups=2).double()
    compiled = copy.deepcopy(plain)
    compiled.compile()
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    probe = torch.randn_like(x)
    results = [gradients(cell, x, probe) for cell in (plain, compiled)]
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict(), rtol=1e-10, atol=1e-10)


def test_a_cell_is_compiled_for_training_and_one_shape():
    backend = Counting()
    cell = SearchableHOGA(4, num_groups=2)
    cell.compile(backend=backend)
    for mode, size, graphs in ((False, 4, 0), (True, 4, 1), (True, 4, 1), (True, 5, 1), (False, 4, 1), (True, 4, 1)):
        cell.train(mode)(torch.randn(2, 4, size, size))
        assert backend.graphs == graphs, (mode, size)


def test_equal_cells_share_their_compiled_graph():
    backend = Counting()
    cells = [SearchableHOGA(4, num_groups=2) for _ in range(3)]
    for cell in cells:
        cell.compile(backend=backend)
        cell(torch.randn(2, 4, 4, 4))
    assert backend.graphs == 1


def test_a_search_with_compiled_cells(search_config):
    """It ends like one without, and mmengine does not compile train_step."""
    alphas = []
    for name, compiled in (('plain', False), ('compiled', PLAIN)):
        config = copy.deepcopy(search_config)
        config.merge_from_dict(
            {'compile': compiled, 'work_dir': f'{config.work_dir}/{name}', 'experiment_name': f'compile_{name}'}
        )
        runner = Runner.from_cfg(config)
        runner.train()
        assert runner.model.train_step.__func__ is SearchModel.train_step
        assert [cell._compiled is not None for cell in runner.model.cells()] == [bool(compiled)] * 2
        alphas.append(runner.model.alpha.detach())
    torch.testing.assert_close(*alphas)


def test_second_derivatives_are_refused(search_config):
    search_config.merge_from_dict({'compile': True, 'train_cfg': dict(order=2, hessian='exact')})
    search_config.experiment_name = 'compile_exact'
    with pytest.raises(ValueError, match='differentiates twice'):
        Runner.from_cfg(search_config).train()


def test_another_value_is_refused(search_config):
    search_config.merge_from_dict({'compile': 'yes', 'experiment_name': 'compile_yes'})
    with pytest.raises(ValueError, match='compile must be True, False or a dict'):
        Runner.from_cfg(search_config).train()
