"""The layers with a path for channels_last equal those of torch."""

import pytest
import torch
from torch import nn

from mmhoga.models.fast.kernels.convolutions import PointwiseConv2d
from mmhoga.models.fast.kernels.norms import NARROW, NarrowBatchNorm2d

FORMATS = [torch.contiguous_format, torch.channels_last]


def agree(ours, plain, x):
    """Compare values, memory formats, gradients and states."""
    plain.load_state_dict(ours.state_dict())
    results = []
    for layer in (ours, plain):
        y = layer(x)
        results.append((y, *torch.autograd.grad((y * y.detach().cos()).sum(), [x, *layer.parameters()])))
    torch.testing.assert_close(*results)
    assert results[0][0].stride() == results[1][0].stride()
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


def maps(channels, memory_format, size=5):
    x = torch.randn(2, channels, size, size, dtype=torch.float64)
    return x.to(memory_format=memory_format).requires_grad_()


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('groups', [1, 2])
def test_pointwise(memory_format, bias, groups):
    ours = PointwiseConv2d(4, 6, groups=groups, bias=bias).double()
    agree(ours, nn.Conv2d(4, 6, 1, groups=groups, bias=bias).double(), maps(4, memory_format))


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('channels', [2, NARROW])
@pytest.mark.parametrize('training', [True, False])
def test_narrow_norm(memory_format, channels, training):
    layers = NarrowBatchNorm2d(channels), nn.BatchNorm2d(channels)
    agree(*(layer.double().train(training) for layer in layers), maps(channels, memory_format))
