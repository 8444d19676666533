"""Cells that are compiled by region: what is shared, and that the results are those of the other forms."""

import pytest
import torch
import torch.nn.functional as F
from cells import randomize

from mmhoga.models import HOGA
from mmhoga.models.fast.kernels.convolutions import pointwise
from mmhoga.models.fast.region import Function

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
    generator = torch.Generator().manual_seed(0)
    for batch, *size in SIZES:
        x = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
        yield x.to(memory_format=torch.channels_last)


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


def test_fixed_sizes_for_an_existing_cell():
    backend = Backend()
    cell = HOGA(4, genotype=[['se']]).double().eval()
    with torch.no_grad():
        expected = [cell(x) for x in images()]
        cell.compile(backend=backend, dynamic=False)
        torch.testing.assert_close([cell(x) for x in images()], expected)
    assert backend.graphs == len(SIZES)


def test_a_cell_with_a_hook_is_not_compiled():
    backend = Backend()
    cell, plain = (one.eval() for one in pair(backend))
    seen = []
    cell.phi[0].register_forward_hook(lambda *args: seen.append(args))
    x = next(images())
    torch.testing.assert_close(cell(x), plain(x))
    assert (len(seen), backend.graphs) == (1, 0)


@pytest.mark.parametrize('setting', ['fastest', 3, dict(mode='fastest')])
def test_wrong_settings(setting):
    with pytest.raises(ValueError, match='compile'):
        HOGA(4, genotype=[['se']], compile=setting)


def test_the_code_generator_keeps_views_in_channels_last(monkeypatch):
    """It cannot order the strides of a view of dynamic size. No kernel is compiled or run here."""
    from torch._inductor.async_compile import AsyncCompile

    monkeypatch.setattr(AsyncCompile, 'cpp_pybinding', lambda *args: lambda *kernel_args: None)

    def stages(x, structure, weight, mean, var, scale, shift, last):
        y = pointwise(x, weight, groups=3)  # a permuted product, which the backward pass of the norm reads
        y = F.batch_norm(y, mean, var, scale, shift, training=True).relu_()
        return F.conv2d(y, last, padding=1, groups=12)

    x = torch.randn(2, 12, 5, 4).to(memory_format=torch.channels_last).requires_grad_()
    norm = (torch.zeros(12), torch.ones(12), torch.ones(12, requires_grad=True), torch.zeros(12, requires_grad=True))
    weight, last = torch.rand(12, 4, 1, 1, requires_grad=True), torch.rand(12, 1, 3, 3, requires_grad=True)
    assert Function(stages, None, dynamic=True, options={})(x, weight, *norm, last).shape == x.shape
