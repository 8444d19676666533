import copy
import doctest

import pytest
import torch
from cells import random_genotype, randomize
from torch import nn

from mmhoga.backbones import ResNet
from mmhoga.deploy import check_outputs, fuse, fusing
from mmhoga.genotype import PRIMITIVES
from mmhoga.models import HOGA
from mmhoga.models.fast.folding import fold, fold_norms


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def pixels(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('affine', [True, False])
def test_a_norm_folds_into_its_convolution(bias, affine):
    conv, norm = nn.Conv2d(4, 6, 3, 2, padding=2, dilation=2, groups=2, bias=bias), nn.BatchNorm2d(6, affine=affine)
    pair = randomize(nn.Sequential(conv, norm).double()).eval()
    x = pixels(2, 4, 7, 6)
    torch.testing.assert_close(fold(conv, norm)(x), pair(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize('name', [name for name in PRIMITIVES if name not in ('none', 'skip_connect')])
def test_a_cell_of_each_operation(name):
    cell = randomize(HOGA(8, genotype=[[name], [name, name]]).double()).eval()
    fused = copy.deepcopy(cell).fuse()
    x = pixels(2, 8, 6, 5)
    torch.testing.assert_close(fused(x), cell(x), rtol=1e-10, atol=1e-10)
    assert not norms(fused) and not any(p.requires_grad for p in fused.parameters())
    torch.testing.assert_close(fused.fuse()(x), cell(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('summary', ['nodes', 'inputs'])
def test_cells_of_any_genotype(summary):
    for seed in range(4):
        cell = randomize(HOGA(16, genotype=random_genotype(4, seed), summary=summary).double()).eval()
        x = pixels(2, 16, 6, 5)
        torch.testing.assert_close(copy.deepcopy(cell).fuse()(x), cell(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('depth', [18, 50])
def test_a_whole_network(depth):
    plugin = dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')
    model = ResNet(depth, base_channels=8, num_stages=2, out_indices=(0, 1), plugins=[plugin], deep_stem=depth == 50)
    for norm in norms(model):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(2, 3, 32, 32)
    fused = fuse(model, x)
    assert not norms(fused) and len(norms(model)) > 20
    check_outputs(fused(x), model(x), 1e-5)
    torch.testing.assert_close(model.state_dict(), before)


def test_a_norm_elsewhere_is_found_out():
    class Before(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.bn = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.conv(self.bn(x))

    model = Before()
    model.bn.running_mean.fill_(2)
    with pytest.raises(ValueError, match=r'Before cannot be fused: .*Greatest absolute difference'):
        fuse(model, torch.randn(2, 3, 4, 4))
    assert isinstance(model.bn, nn.BatchNorm2d)


class Difference(nn.Module):
    """The difference of two features that are almost equal: its rounding is 1e-4 of the output or more."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)
        self.conv.weight.data[1] = self.conv.weight.data[0] * (1 + 1e-4)
        self.conv.bias.data[:] = 3
        self.bn.running_mean.fill_(0.3)

    def forward(self, x):
        y = self.bn(self.conv(x))
        return y[:, 0] - y[:, 1]


def test_rounding_is_not_a_wrong_norm():
    torch.manual_seed(0)
    model, x = Difference().eval(), torch.randn(2, 3, 8, 8)
    fused = fuse(model, x)
    with pytest.raises(AssertionError):
        check_outputs(fused(x), model(x), 1e-5)  # what fuse() must not take for a norm at a wrong place
    check_outputs(fused.double()(x.double()), model.double()(x.double()), 1e-2)


def test_a_model_that_needs_single_precision():
    class Single(Difference):
        def forward(self, x):
            return super().forward(x) @ torch.ones(6, 1)  # fails in double precision

    assert not norms(fuse(Single(), torch.randn(2, 3, 8, 8), tolerance=0.1))


def test_norms_without_statistics_stay():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    fold_norms(model)
    assert norms(model)


@pytest.mark.parametrize(
    ('actual', 'message'),
    [
        ([torch.tensor([1.0, -3.0]), torch.tensor([10.0])], 'Greatest absolute difference: 0.25'),
        ([torch.tensor([1.0, -4.0]), torch.tensor([float('nan')])], 'nan'),
        ([torch.tensor([1.0, -4.0]), torch.tensor([[10.0]])], 'shape'),
        ([torch.tensor([1.0, -4.0])], '1 outputs instead of 2'),
    ],
)
def test_outputs_that_differ(actual, message):
    expected = (torch.tensor([1.0, -4.0]), {'a': [torch.tensor([10.0])]})
    check_outputs([expected[0] + 0.9e-3, expected[1]['a'][0]], expected, 1e-3)  # flat, as an ONNX file returns them
    with pytest.raises(AssertionError, match=message):
        check_outputs(actual, expected, 1e-3)


def test_the_example_of_fuse():
    results = doctest.testmod(fusing)
    assert results.attempted and not results.failed
