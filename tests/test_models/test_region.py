"""Cells that are compiled by region: what is shared, and that the results are those of the other forms."""

import copy

import pytest
import torch
from cells import randomize

from mmhoga.models import HOGA

SIZES = [(2, 6, 6), (3, 5, 7)]
GENOTYPE = [['norm_3x3'], ['norm_3x3', 'se']]


class Backend:
    """Runs the graphs of dynamo as they are, and counts them."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def pair(backend, channels=4):
    """A compiled cell, and one with the same weights that is not."""
    cell = randomize(HOGA(channels, genotype=GENOTYPE, compile=dict(backend=backend)).double())
    plain = HOGA(channels, genotype=GENOTYPE).double()
    plain.load_state_dict(cell.state_dict())
    return cell, plain


def images(channels=4):
    for batch, *size in SIZES:
        yield torch.randn(batch, channels, *size, dtype=torch.float64).to(memory_format=torch.channels_last)


def test_cells_of_one_width_share_one_graph_for_all_sizes():
    backend = Backend()
    for channels, graphs in ((4, 1), (4, 1), (8, 2)):
        cell, plain = (one.eval() for one in pair(backend, channels))
        for x in images(channels):
            with torch.no_grad():
                torch.testing.assert_close(cell(x), plain(x))
        assert backend.graphs == graphs


def test_training():
    backend = Backend()
    for _ in range(2):
        cell, plain = pair(backend)
        for x in images():
            gradients = []
            for one in (cell, plain):
                inputs = x.clone().requires_grad_()
                y = one(inputs)
                gradients.append(torch.autograd.grad(y.square().sum(), [inputs, *one.parameters()]))
            torch.testing.assert_close(*gradients)
            torch.testing.assert_close(cell.state_dict(), plain.state_dict())
    assert backend.graphs == 1


def test_a_fused_cell():
    backend = Backend()
    for _ in range(2):
        cell, plain = pair(backend)
        cell.fuse()
        for x in images():
            torch.testing.assert_close(cell(x), plain.eval()(x))
    assert backend.graphs == 1


def test_fixed_sizes():
    backend = Backend()
    cell = HOGA(4, genotype=[['se']], compile=dict(backend=backend, dynamic=False)).double().eval()
    with torch.no_grad():
        for x in images():
            cell(x)
    assert backend.graphs == len(SIZES)


def test_a_cell_with_a_hook_is_not_compiled():
    backend = Backend()
    cell, plain = (one.eval() for one in pair(backend))
    seen = []
    cell.phi[0].register_forward_hook(lambda *args: seen.append(args))
    x = next(images())
    torch.testing.assert_close(cell(x), plain(x))
    assert (len(seen), backend.graphs) == (1, 0)


def test_the_method_compiles_an_existing_cell():
    backend = Backend()
    cell = HOGA(4, genotype=[['se']]).double().eval()
    x = next(images())
    expected = cell(x)
    cell.compile(backend=backend)
    torch.testing.assert_close(cell(x), expected)
    assert backend.graphs == 1


@pytest.mark.parametrize('setting', ['fastest', 3, dict(mode='fastest')])
def test_wrong_settings(setting):
    with pytest.raises(ValueError, match='compile'):
        HOGA(4, genotype=[['se']], compile=setting)


def test_a_second_size_in_training_by_the_compiler_of_torch():
    """CBAM failed in the code generator for the second size."""
    torch.manual_seed(0)
    cell = randomize(HOGA(2, genotype=[['cbam']])).to(memory_format=torch.channels_last)
    compiled = torch.compile(copy.deepcopy(cell))
    for size in ((6, 6), (5, 7)):
        x = torch.randn(2, 2, *size).to(memory_format=torch.channels_last)
        torch.testing.assert_close(compiled(x), cell(x), rtol=1e-4, atol=1e-5)
        gradients = [torch.autograd.grad(one(x).square().sum(), list(one.parameters())) for one in (compiled, cell)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
