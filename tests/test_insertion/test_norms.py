"""Estimated statistics of the batch norms in cells, compared with those of the inputs that the norms see."""

import copy
import random

import numpy as np
import pytest
import torch
from test_insertion.test_insert import CELL, small_network
from torch import nn

import mmhoga
from mmhoga.insertion import cells_of, estimate_norms
from mmhoga.insertion.norms import cell_norms
from mmhoga.models import HOGA


def inserted(cell=CELL, **arguments):
    network = mmhoga.insert(small_network(), cell, after=r'\d\.conv', **arguments)
    for module in network.modules():  # with weights as of a trained cell
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def images(count):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2 + i, 3, 20, 30, generator=generator) + i for i in range(count)]


def everything(network):
    """Everything that must stay as it is, except for the statistics."""
    skipped = {id(b) for norm in cell_norms(network) for b in (norm.running_mean, norm.running_var)}
    return (
        [value.clone() for value in network.state_dict(keep_vars=True).values() if id(value) not in skipped],
        [module.training for module in network.modules()],
        [getattr(module, 'momentum', None) for module in network.modules()],
        [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        [p.requires_grad for p in network.parameters()],
        (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),  # noqa: NPY002
    )


def assert_same(first, second):
    for one, other in zip(first, second):
        for a, b in zip(one, other):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize('cell', [CELL, dict(type='mmhoga.SearchableHOGA')])
@pytest.mark.parametrize('channels_last', [False, True])
def test_they_are_averages_over_the_inputs_of_the_norms(cell, channels_last):
    network = inserted(cell).train()
    batches = images(3)
    if channels_last:  # in which narrow norms convert their input
        network = network.to(memory_format=torch.channels_last)
        batches = [batch.to(memory_format=torch.channels_last) for batch in batches]
    slow = copy.deepcopy(network).eval()
    seen = {}
    for norm in cell_norms(slow):
        norm.train()
        norm.momentum = None
        norm.register_forward_pre_hook(lambda norm, args: seen.setdefault(norm, []).append(args[0].double()))
    with torch.no_grad():
        for batch in batches:
            slow(batch)

    assert estimate_norms(network, batches) == 3
    assert len(cell_norms(network)) == len(seen) > 4
    for norm, twin in zip(cell_norms(network), cell_norms(slow)):
        maps = [x.transpose(0, 1).flatten(1) for x in seen[twin]]
        assert len(maps) == 3
        mean = sum(x.mean(1) for x in maps) / 3
        variance = sum(x.var(1) for x in maps) / 3
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-4, atol=1e-6)


def test_the_statistics_of_one_batch_normalise_it():
    """In eval mode the network then computes what it computes with the statistics of the batch."""
    network, (batch,) = inserted().train(), images(1)
    estimate_norms(network, [batch])
    expected = copy.deepcopy(network).eval()
    for norm in cell_norms(expected):
        norm.train()
    assert not torch.allclose(inserted().eval()(batch), expected(batch), atol=1e-2)
    for norm in cell_norms(network):
        norm.running_var *= 1 - 1 / (2 * 9 * 14)  # a batch is normalised with its biased variance
    torch.testing.assert_close(network.eval()(batch), expected(batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('training', [True, False])
def test_nothing_else_changes(training):
    network = inserted().train(training)
    network(images(1)[0]).sum().backward()
    network[1].norm.momentum = 0.3

    def batches():
        for batch in images(2):
            yield batch * np.random.rand() + torch.rand(()) + random.random()  # noqa: NPY002

    before, statistics = everything(network), cell_norms(network)[0].running_mean.clone()
    estimate_norms(network, batches())
    assert_same(before, everything(network))
    assert not torch.equal(statistics, cell_norms(network)[0].running_mean)


def broken(network, batch):
    network(batch)
    raise KeyError('broken')


@pytest.mark.parametrize(
    ('batches', 'forward', 'error', 'message'),
    [
        (images(2), broken, KeyError, 'broken'),
        ([], None, ValueError, 'There is no batch'),
        ([images(1)[0] * torch.nan], None, ValueError, 'over 1 batches are not finite'),
    ],
)
def test_an_error_leaves_everything_as_it_was(batches, forward, error, message):
    network = inserted().train()
    before = everything(network)
    statistics = [(n.running_mean.clone(), n.running_var.clone()) for n in cell_norms(network)]
    with pytest.raises(error, match=message):
        estimate_norms(network, batches, forward)
    assert_same(before, everything(network))
    for norm, (mean, variance) in zip(cell_norms(network), statistics):
        assert torch.equal(norm.running_mean, mean)
        assert torch.equal(norm.running_var, variance)


def test_a_network_without_batch_norms_in_its_cells():
    pytest.importorskip('timm')
    network = inserted(dict(type='mmhoga.Attention', name='se'))
    assert estimate_norms(network, [None]) == 0, 'the batch is not used'


def test_plugins_have_norms_too():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), HOGA(8), nn.BatchNorm2d(8))
    norms = cell_norms(network)
    assert norms and network[2] not in norms
    network = mmhoga.insert(network, CELL, after='0')
    assert set(norms) < set(cell_norms(network))
    assert len(cells_of(network)) == 1
