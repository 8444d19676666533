"""The attentions of timm as plugins."""

from __future__ import annotations

import sys

import pytest
import torch

from mmhoga.models import Attention
from mmhoga.registry import MODELS

timm_layers = pytest.importorskip('timm.layers')


@pytest.mark.parametrize('name', ['se', 'ese', 'eca', 'ceca', 'ge', 'gc', 'gca', 'cbam', 'lcbam'])
def test_shape_is_kept_and_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    layer = MODELS.build(dict(type='mmhoga.Attention', in_channels=32, name=name))
    layer.init_weights()
    x = torch.randn(4, 32, 6, 6, requires_grad=True)
    y = layer(x)
    assert y.shape == x.shape
    (y * torch.randn(y.shape)).sum().backward()
    for parameter in (x, *layer.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize('channels', [8, 24, 100, 256])
def test_se_squeezes_by_16_without_rounding(channels):
    layer = Attention(channels, name='se')
    hidden = max(1, int(channels / 16 + 0.5))
    assert sum(p.numel() for p in layer.parameters()) == 2 * channels * hidden + channels + hidden


def test_se_equals_its_formula():
    torch.manual_seed(0)
    layer, x = Attention(32, name='se'), torch.randn(2, 32, 5, 5)
    first, second = (conv.weight.flatten(1) for conv in (layer.layer.fc1, layer.layer.fc2))
    hidden = (x.mean((2, 3)) @ first.T + layer.layer.fc1.bias).relu()
    gate = (hidden @ second.T + layer.layer.fc2.bias).sigmoid()
    torch.testing.assert_close(layer(x), x * gate[:, :, None, None])


def test_arguments_reach_timm():
    assert Attention(40, name='se', rd_ratio=1 / 4).layer.fc1.out_channels == 10
    assert Attention(40, name='se', rd_ratio=1 / 4, rd_divisor=8).layer.fc1.out_channels == 8


def test_ge_theta_gathers_over_the_whole_map():
    layer = Attention(16, name='ge', extra_params=True, extent=0, use_mlp=False, feat_size=7)
    assert sum(p.numel() for p in layer.parameters()) == 16 * 7 * 7 + 2 * 16
    x = torch.randn(2, 16, 7, 7)
    assert layer(x).shape == (2, 16, 7, 7)
    conv, norm = layer.layer.gather
    gathered = (x * conv.weight[:, 0]).sum((2, 3), keepdim=True)  # one number per channel
    torch.testing.assert_close(conv(x), gathered)
    torch.testing.assert_close(layer.eval()(x), x * norm(gathered).sigmoid())


def test_the_initialisation_of_timm_survives_that_of_the_backbone():
    from mmhoga.backbones import CIFARResNet

    plugins = [dict(cfg=dict(type='mmhoga.Attention', name='gca'), position='after_conv2')]
    model = CIFARResNet(8, base_channels=16, plugins=plugins)
    model.init_weights()
    context = model.layer1[0].attention.layer
    assert (context.mlp_add.fc2.weight == 0).all()
    assert model.layer1[0].conv1.weight.any()


@pytest.mark.parametrize(
    ('name', 'message'),
    [('sse', "no attention 'sse'. Did you mean .*'se'"), ('CBAMM', 'It has: se,'), (None, 'None'), (True, 'True')],
)
def test_an_unknown_name(name, message):
    with pytest.raises(ValueError, match=message):
        Attention(32, name=name)


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('se', dict(reduction=16), r"'se'.*reduction.*It accepts: .*rd_ratio=0.0625"),
        ('ge', dict(extra_params=True), r"'ge'.*spatial feature size.*feat_size"),
    ],
)
def test_invalid_arguments_of_an_attention(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        Attention(32, name=name, **arguments)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.layers', None)
    with pytest.raises(ImportError, match=r"'se' comes from timm.*pip install mmhoga\[attention\]"):
        Attention(32, name='se')
