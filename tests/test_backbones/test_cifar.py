"""The CIFAR ResNets."""

from __future__ import annotations

import pytest
import torch

from mmhoga.backbones import CIFARResNet
from mmhoga.registry import MODELS


def count(model):
    return sum(p.numel() for p in model.parameters())


def by_hand(n, w, classes):
    """Parameters of the net: a conv of a to b channels has a b k^2, a batch norm 2 b."""

    def stage(a, b):
        convs = 9 * a * b + (2 * n - 1) * 9 * b * b + 2 * n * 2 * b
        projection = 0 if a == b else a * b + 2 * b
        return convs + projection

    stem = 9 * 3 * w + 2 * w
    return stem + stage(w, w) + stage(w, 2 * w) + stage(2 * w, 4 * w) + (4 * w + 1) * classes


@pytest.mark.parametrize(
    ('depth', 'width', 'classes', 'millions'),
    [
        (20, 16, 10, 0.27),
        (32, 16, 10, 0.47),
        (56, 16, 10, 0.86),
        (110, 16, 10, 1.73),
        (20, 64, 100, 4.35),
        (8, 4, 3, 0.01),
    ],
)
def test_parameters(depth, width, classes, millions):
    model = CIFARResNet(depth, base_channels=width)
    total = count(model) + (model.feat_dim + 1) * classes
    assert total == by_hand((depth - 2) // 6, width, classes)
    assert round(total / 1e6, 2) == millions


def test_resnet20_has_272474_parameters():
    assert count(CIFARResNet(20)) + 65 * 10 == 272_474


def test_shapes_and_image_channels():
    model = CIFARResNet(8, in_channels=1, base_channels=4, out_indices=(0, 1, 2))
    shapes = [tuple(y.shape) for y in model(torch.rand(2, 1, 8, 8))]
    assert shapes == [(2, 4, 8, 8), (2, 8, 4, 4), (2, 16, 2, 2)]


def test_one_plugin_in_chosen_stages():
    plugins = [dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2', stages=(False, True, True))]
    model = MODELS.build(dict(type='mmhoga.CIFARResNet', depth=14, base_channels=4, plugins=plugins))
    cells = [name for name, _ in model.named_modules() if name.endswith('.hoga')]
    assert cells == ['layer2.0.hoga', 'layer2.1.hoga', 'layer3.0.hoga', 'layer3.1.hoga']


@pytest.mark.parametrize(
    ('depth', 'nearest'), [(21, '20 and 26'), (18, '14 and 20'), (2, '8 and 14'), (-4, '8 and 14')]
)
def test_depth_is_6n_plus_2(depth, nearest):
    with pytest.raises(ValueError, match=rf'6n \+ 2, not {depth}: the nearest are {nearest}'):
        CIFARResNet(depth)


def test_stages_has_three_entries():
    plugins = [dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2', stages=(True,) * 4)]
    with pytest.raises(ValueError, match=r'has 4 entries.*has 3 stages'):
        CIFARResNet(8, plugins=plugins)
