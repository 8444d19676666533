"""Cells within ``torch.func`` and forward-mode differentiation, which refuse hand-written autograd functions."""

import pytest
import torch
from cells import randomize
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap

from mmhoga.models import HOGA, SearchableHOGA

CELLS = {'HOGA': HOGA, 'SearchableHOGA': SearchableHOGA}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def cell(request):
    torch.manual_seed(0)
    return randomize(request.param(8).double()).eval()


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=['NCHW', 'NHWC'])
def x(request):
    return torch.randn(2, 8, 5, 4, dtype=torch.float64).to(memory_format=request.param)


def test_the_gradient_of_each_image(cell, x):
    parameters = dict(cell.named_parameters())

    def loss(parameters, image):
        return functional_call(cell, parameters, (image[None],)).square().sum()

    gradients = vmap(grad(loss), (None, 0))(parameters, x)
    for i, image in enumerate(x):
        expected = torch.autograd.grad(cell(image[None]).square().sum(), list(parameters.values()))
        for gradient, one in zip(gradients.values(), expected):
            torch.testing.assert_close(gradient[i], one)


def test_an_ensemble(cell, x):
    ensemble = {name: torch.stack([tensor, 2 * tensor]) for name, tensor in cell.named_parameters()}
    together = vmap(lambda parameters: functional_call(cell, parameters, (x,)))(ensemble)
    for i in range(2):
        one = functional_call(cell, {name: tensor[i] for name, tensor in ensemble.items()}, (x,))
        torch.testing.assert_close(together[i], one)


@pytest.mark.parametrize('training', [True, False])
def test_forward_mode(cell, x, training):
    """The derivative along a direction, against the transposed product of the backward pass."""
    cell.train(training)
    direction, probe = torch.randn_like(x), torch.randn_like(x)

    def forward(x):  # torch wants the buffers that a forward pass changes as inputs
        return functional_call(cell, {name: buffer.clone() for name, buffer in cell.named_buffers()}, (x,))

    _, tangent = jvp(forward, (x,), (direction,))
    with forward_ad.dual_level():
        torch.testing.assert_close(forward_ad.unpack_dual(forward(forward_ad.make_dual(x, direction))).tangent, tangent)
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cell(inputs), inputs, probe)
    torch.testing.assert_close((tangent * probe).sum(), (gradient * direction).sum())


def test_a_hessian(cell, x):
    """One row against the difference of two gradients."""
    x = x[:1, :, :2, :2]
    hessian = torch.func.hessian(lambda x: cell(x).square().sum())(x)
    step = torch.zeros_like(x)
    step[0, 3, 1, 1] = 1e-6

    def gradient(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(cell(x).square().sum(), x)[0]

    expected = (gradient(x + step) - gradient(x - step)) / 2e-6
    torch.testing.assert_close(hessian[0, 3, 1, 1].detach(), expected, rtol=1e-6, atol=1e-6)
