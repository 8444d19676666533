"""Poolings and channel MLPs in Triton equal the plain forms; run by Triton's interpreter."""

import os

import pytest
import torch

pytest.importorskip('triton', reason='kernels in Triton need Triton')
if os.environ.get('TRITON_INTERPRET') != '1':
    pytest.skip('needs TRITON_INTERPRET=1 from the start; test_interpreter.py runs it so', allow_module_level=True)

from triton_forms import FORMATS, agree, leaf

from mmhoga.models.fast.kernels import mlps as plain_mlps
from mmhoga.models.fast.kernels import pools as plain_pools
from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.fast.triton import mlps, pools


def maps_of(x, logits=None):
    x = x if logits is None else x * logits.sigmoid()
    return torch.stack((x.amax(2), x.mean(2)), 2).flatten(1, 2)


def pixel_pools_of(x):
    return torch.stack((x.amax((-2, -1)), x.mean((-2, -1))), 2)


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(('edges', 'gates'), [(1, 0), (3, 0), (1, 1), (3, 3), (1, 3)])
@pytest.mark.parametrize('channels', [1, 3, 40])
def test_channel_maps(channels, edges, gates, memory):
    """Of a slice of a larger tensor. With one input for 3 edges, each has a gate of its own."""
    whole = leaf(2, edges * channels + 2, 5, 7, memory=memory)
    logits = leaf(2, gates, channels, 1, 1) if gates else None

    def run(function):
        def of(whole, *logits):
            return function(whole[:, 2:].unflatten(1, (edges, channels)), *logits)

        return of

    inputs = (whole,) if logits is None else (whole, logits)
    agree(run(pools.channel_maps), run(maps_of), inputs, second=channels == 3)


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    ('edges', 'channels', 'size'), [(1, 1, (5, 7)), (3, 6, (5, 7)), (2, 20, (1, 1)), (1, 3, (40, 60))]
)
def test_pixel_pool(edges, channels, size, memory):
    whole = leaf(2, edges * channels + 2, *size, memory=memory)

    def run(function):
        return lambda whole: function(whole[:, 2:].unflatten(1, (edges, channels)))

    agree(run(pools.pixel_pool), run(pixel_pools_of), (whole,), second=channels == 6)


def test_equal_maxima_share_the_gradient():
    x = torch.zeros(1, 1, 4, 2, 3, requires_grad=True)
    pools.channel_maps(x)[:, 0].sum().backward()
    assert x.grad.unique().tolist() == [0.25]
    x.grad = None
    pools.pixel_pool(x)[:, :, 0].sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1 / 6))


@pytest.mark.parametrize('values', [['nan'], ['inf', '-inf'], ['nan', 'inf']], ids='-'.join)
def test_not_finite(values):
    """The same values and gradients as the plain form: NaN for all that share a maximum with NaN."""
    x = torch.randn(1, 1, 4, 2, 3)
    for place, value in enumerate(values):
        x[0, 0, 1 + place, 1, 2] = x[0, 0, 0, 0, place] = float(value)
    for kernel, plain in ((pools.channel_maps, plain_pools.channel_maps), (pools.pixel_pool, plain_pools.pixel_pool)):
        results = []
        for function in (kernel, plain):
            inputs = x.clone().requires_grad_()
            y = function(inputs)
            results.append((y, torch.autograd.grad(y, inputs, torch.ones_like(y))[0]))
        torch.testing.assert_close(*results, equal_nan=True)


def test_the_wider_type():
    x, logits = torch.randn(1, 2, 4, 2, 3).half(), torch.randn(1, 2, 4, 1, 1)
    assert pools.channel_maps(x, logits).dtype == torch.float32


def test_large_maps_have_the_plain_form():
    x = torch.randn(1, 1, 1, 200, 100, requires_grad=True)
    torch.testing.assert_close(pools.pixel_pool(x), pixel_pools_of(x))
    assert type(pools.pixel_pool(x).grad_fn) is type(plain_pools.pixel_pool(x).grad_fn)
    assert type(pools.pixel_pool(x[..., :9]).grad_fn) is not type(plain_pools.pixel_pool(x).grad_fn)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    """Values and gradients are those of float32, rounded."""
    x, logits = torch.randn(2, 2, 6, 5, 7), torch.randn(2, 2, 6, 1, 1)
    pooled, weights = torch.randn(3, 1, 2, 16), [torch.randn(*shape) / 4 for shape in ((1, 4, 16), (1, 16, 4))]

    def logits_of(module):
        return lambda pooled, squeeze, excite: module.channel_logits(pooled, Mlp(squeeze, None, excite, None), 2)

    for kernel, plain, inputs in (
        (pools.channel_maps, maps_of, (x, logits)),
        (pools.pixel_pool, pixel_pools_of, (x,)),
        (logits_of(mlps), logits_of(plain_mlps), (pooled, *weights)),
    ):
        rounded = [tensor.to(dtype).requires_grad_() for tensor in inputs]
        exact = [tensor.detach().float().requires_grad_() for tensor in rounded]
        actual, expected = kernel(*rounded), plain(*exact)
        probe = torch.randn_like(actual)
        grads = torch.autograd.grad(actual, rounded, probe), torch.autograd.grad(expected, exact, probe.float())
        assert all(tensor.dtype == dtype for tensor in (actual, *grads[0]))
        tolerance = dict(rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)
        for one, other in zip((actual, *grads[0]), (expected, *grads[1])):
            torch.testing.assert_close(one.float(), other, **tolerance)


@pytest.mark.parametrize('biases', [(True, True), (False, False), (True, False)], ids=str)
@pytest.mark.parametrize(
    ('edges', 'inputs', 'poolings', 'channels', 'units'),
    [(1, 1, 1, 5, 1), (3, 3, 2, 16, 4), (3, 1, 2, 70, 3), (1, 1, 1, 130, 17)],
)
def test_channel_logits(edges, inputs, poolings, channels, units, biases):
    shapes = [(edges, units, channels), (edges, 1, units), (edges, channels, units), (edges, 1, channels)]
    present = [True, biases[0], True, biases[1]]
    pooled = leaf(3, inputs, poolings, channels)
    weights = [leaf(*shape) for shape, there in zip(shapes, present) if there]

    def run(function):
        def of(pooled, *weights):
            rest = iter(weights)
            return function(pooled, Mlp(*(next(rest) if there else None for there in present)), poolings)

        return of

    agree(run(mlps.channel_logits), run(plain_mlps.channel_logits), (pooled, *weights), 1e-4, second=channels == 16)


def test_fused_weights():
    """The second layer is repeated for each pooling."""
    pooled, squeeze, excite = torch.randn(2, 1, 2, 8), torch.randn(1, 3, 8), torch.randn(1, 8, 3)
    biases = torch.randn(1, 1, 3), torch.randn(1, 1, 8)
    fused = Mlp(squeeze, biases[0], torch.cat((excite, excite), 2), biases[1])
    with torch.no_grad():
        expected = plain_mlps.channel_logits(pooled, fused, 2)
        torch.testing.assert_close(mlps.channel_logits(pooled, fused, 2), expected, rtol=1e-5, atol=1e-5)
    pooled.requires_grad_()
    grads = [
        torch.autograd.grad(module.channel_logits(pooled, fused, 2).sum(), pooled) for module in (mlps, plain_mlps)
    ]
    torch.testing.assert_close(*grads)
