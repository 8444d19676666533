import pytest
import torch
import torch.nn.functional as F

from mmhoga.models.fast.kernels.convolutions import separable
from mmhoga.models.fast.kernels.norms import Norm, weighted_gates
from mmhoga.models.fast.kernels.pools import channel_pool, pixel_pool


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def norm(channels, training):
    """With space for the statistics of the batch, or with running statistics."""
    mean, var = (torch.zeros, torch.zeros) if training else (torch.randn, torch.rand)
    return Norm(mean(channels).double(), var(channels).double() + (not training), training, 1e-5)


def batch_norm(x, norm):
    statistics = (None, None) if norm.training else (norm.mean, norm.var)
    return F.batch_norm(x, *statistics, training=norm.training)


def agree(kernel, plain, inputs):
    """Compare values, first and second derivatives."""
    torch.testing.assert_close(kernel(*inputs), plain(*inputs))
    probe = torch.randn_like(plain(*inputs)).requires_grad_()
    firsts = [torch.autograd.grad(f(*inputs), inputs, probe, create_graph=True) for f in (kernel, plain)]
    torch.testing.assert_close(*firsts)
    probes = [torch.randn_like(first) for first in firsts[0]]
    seconds = [torch.autograd.grad(first, (*inputs, probe), probes, allow_unused=True) for first in firsts]
    for actual, expected in zip(*seconds):
        assert (actual is None) == (expected is None)
        if actual is not None:
            torch.testing.assert_close(actual, expected)
    without_graph = torch.autograd.grad(kernel(*inputs), inputs, probe)
    torch.testing.assert_close(without_graph, firsts[1])


@pytest.mark.parametrize(('size', 'dilation'), [(3, 1), (3, 2), (7, 1)])
@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('mode', ['bare', 'train', 'eval'])
def test_separable(size, dilation, groups, mode):
    inputs = random(2, 4, 5, 6), random(4, 1, size, size), random(6, 4 // groups, 1, 1)
    first = None if mode == 'bare' else norm(4, training=mode == 'train')

    def plain(x, depthwise, pointwise):
        x = x if first is None else batch_norm(x, first).relu()
        x = F.conv2d(x, depthwise, padding=dilation * (size // 2), dilation=dilation, groups=4)
        return F.conv2d(x, pointwise, groups=groups)

    agree(lambda *tensors: separable(*tensors, dilation=dilation, groups=groups, norm=first), plain, inputs)


@pytest.mark.parametrize('training', [True, False])
def test_weighted_gates(training):
    x, weight = random(3, 2, 4, 5, 6), random(1, 2, 4, 1, 1)
    joint = norm(8, training)

    def plain(x, weight):
        return (batch_norm(x.flatten(1, 2), joint).view_as(x).sigmoid() * weight).sum(1)

    agree(lambda *tensors: weighted_gates(*tensors, joint), plain, (x, weight))


def pools(x, *dims):
    return torch.stack((x.amax(dims), x.mean(dims)), dim=2)


@pytest.mark.parametrize('sources', [1, 3])
def test_pools(sources):
    x, scale = random(2, sources, 4, 5, 6), random(2, 3, 4, 1, 1)
    agree(channel_pool, lambda x: pools(x, 2), (x,))
    agree(channel_pool, lambda x, scale: pools(scale * x, 2), (x, scale))
    agree(pixel_pool, lambda x: torch.stack((x.amax((-2, -1)), x.mean((-2, -1))), dim=2), (x,))


def test_equal_maxima_share_the_gradient():
    x = torch.zeros(1, 1, 4, 2, 2, requires_grad=True)
    channel_pool(x)[:, :, 0].sum().backward()
    assert x.grad.unique().tolist() == [0.25]


@pytest.mark.parametrize('images', [1, 2])
@pytest.mark.parametrize('training', [True, False])
def test_second_derivatives_before_a_batch_norm(images, training):
    """Those of one image were wrong."""
    double = dict(dtype=torch.float64)
    x = torch.randn(images, 4, 3, 3, **double, requires_grad=True)
    depthwise, pointwise = torch.randn(4, 1, 3, 3, **double), torch.randn(2, 4, 1, 1, **double)
    mean, variance = torch.randn(2, **double), torch.rand(2, **double) + 0.5

    def normalised(x):
        y = separable(x, depthwise, pointwise)
        return F.batch_norm(y, mean.clone(), variance.clone(), training=training).sigmoid()

    assert torch.autograd.gradgradcheck(normalised, (x,))
