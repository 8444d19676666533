"""Supernets with any K, subset of the primitives and ResNet build and take both steps."""

import pytest
import torch
from torch import nn

from mmhoga.backbones import CIFARResNet, ResNet
from mmhoga.cli.costs import candidates
from mmhoga.genotype import PRIMITIVES, num_edges
from mmhoga.models import HOGA
from mmhoga.search import SearchModel


def supernet(**cfg):
    return [dict(cfg=dict(type='mmhoga.SearchableHOGA', **cfg), position='after_conv2')]


def step(backbone, toy, size, channels=3):
    """Compute alpha's gradient and the weight gradients of one batch, and check them."""
    model = toy()
    model.cells, model.stem = nn.Identity(), nn.Sequential(backbone, _First())
    model.fc = nn.Linear(backbone.feat_dim, 10)
    search = SearchModel(model)
    data = {'inputs': torch.randn(2, channels, size, size), 'gt_label': torch.tensor([1, 2])}
    with search.differentiating_alpha() as alphas, search.frozen_weights():
        (gradient,) = torch.autograd.grad(search.alpha_loss(data)[0], alphas)
    assert gradient.isfinite().all() and (gradient != 0).any(1).all(), 'every edge gets a gradient'
    search.loss(data)[0].backward()
    assert search.alpha.grad is None
    missing = [name for name, p in search.named_parameters() if p is not search.alpha and p.grad is None]
    assert not missing
    return search


class _First(nn.Module):
    def forward(self, outputs):
        return outputs[0]


@pytest.mark.parametrize('groups', [1, 2, 4, 8])
def test_every_number_of_groups(toy, groups):
    search = step(CIFARResNet(8, base_channels=8, plugins=supernet(num_groups=groups)), toy, 8)
    assert search.alpha.shape == (num_edges(groups), len(PRIMITIVES))
    HOGA(8, genotype=search.genotype())(torch.randn(2, 8, 4, 4))


@pytest.mark.parametrize('names', [('skip_connect', 'se'), ('none', 'cbam', 'norm_3x3_d2'), ('spatial_3x3',)])
def test_subsets_of_the_primitives(toy, names):
    backbone = CIFARResNet(8, base_channels=8, plugins=supernet(primitives=names))
    if len(names) == 1:
        search = SearchModel(_with(toy(), backbone))
        assert {name for row in search.genotype().edges for name in row} == set(names)
        return
    search = step(backbone, toy, 8)
    assert {name for row in search.genotype().edges for name in row} <= set(names) - {'none'}


def _with(model, backbone):
    model.cells = backbone
    return model


@pytest.mark.parametrize(
    ('build', 'cells'),
    [
        (lambda plugins: CIFARResNet(20, base_channels=4, plugins=plugins), 9),
        (lambda plugins: CIFARResNet(56, base_channels=4, plugins=plugins), 27),
        (lambda plugins: ResNet(50, base_channels=4, plugins=plugins), 16),
    ],
    ids=['ResNet-20', 'ResNet-56', 'ResNet-50 (Bottleneck)'],
)
def test_networks_of_the_paper(toy, build, cells):
    """Narrow and with two groups, to test depth and blocks."""
    search = step(build(supernet(num_groups=2, primitives=('skip_connect', 'se', 'norm_3x3'))), toy, 32)
    assert len(search.cells()) == cells


def test_an_imagenet_supernet_at_full_width():
    """One forward pass of ResNet-50 with K = 4 and all nine candidates on a small picture."""
    backbone = ResNet(50, plugins=supernet()).eval()
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 32, 32))[0].shape == (1, 2048, 1, 1)


def test_what_a_latency_table_must_hold(toy):
    model = SearchModel(toy())
    modules = dict(candidates(model, (1, 8, 8)))
    assert set(modules) == {(name, 4, 4, 4) for name in PRIMITIVES if name not in ('none', 'skip_connect')}
    for module in modules.values():
        assert module(torch.randn(2, 4, 4, 4)).shape == (2, 4, 4, 4)
