"""The networks of Table 3 (ResNeXt, PNAS cells) on CIFAR-10: sizes, the cell by its definition, gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmhoga.backbones import CIFARPNASNet, CIFARResNeXt
from mmhoga.backbones.pnas import PNASCell

SE = dict(type='mmhoga.Attention', name='se')
CBAM = dict(type='mmhoga.Attention', name='cbam')
HOGA = dict(type='mmhoga.HOGA', genotype='autola')
BN = dict(type='BN')


def resnext(cfg=None, *, base_channels=64, **arguments):
    """ResNeXt-29 8x4d: of the three-stage Bottleneck networks that we counted, the closest to its row in Table 3."""
    position = 'after_conv2' if cfg is HOGA else 'after_conv3'
    plugins = [] if cfg is None else [dict(cfg=cfg, position=position)]
    arguments = {'depth': 29, 'groups': 8, 'width_per_group': 4, **arguments}
    return CIFARResNeXt(base_channels=base_channels, plugins=plugins, **arguments)


def pnas(cfg=None, **arguments):
    plugins = [] if cfg is None else [dict(cfg=cfg, position='after_cell')]
    return CIFARPNASNet(plugins=plugins, **arguments)


def parameters(model, features):
    """With a linear head for ten classes."""
    return sum(p.numel() for p in model.parameters()) + (features + 1) * 10


def resnext_by_hand(n, p, groups, width):
    total, channels = 27 * p + 2 * p, p
    for i in range(3):
        w, out = groups * width * 2**i, 4 * p * 2**i
        total += channels * out + 2 * out  # the projection
        for _ in range(n):
            total += channels * w + 9 * w * w // groups + w * out + 2 * (w + w + out)
            channels = out
    return total + (channels + 1) * 10


def pnas_by_hand(n, width):
    total, channels = 27 * width + 2 * width, width
    for i in range(3):
        w = width * 2**i
        for first in (True,) * (i > 0) + (False,) * n:
            depthwise = (7 * 7 + 3 * 3 + 5 * 5) * w + 3 * 2 * w
            total += depthwise + 2 * w * w + 2 * w + (channels * w + 2 * w if first else 0)
            channels = w
    return total + (channels + 1) * 10


def test_resnext_has_1_72_million_parameters():
    assert parameters(resnext(), 1024) == resnext_by_hand(3, 64, 8, 4)
    assert round(parameters(resnext(), 1024) / 1e6, 2) == 1.72
    assert parameters(resnext(depth=11, groups=4, width_per_group=2), 1024) == resnext_by_hand(1, 64, 4, 2)


@pytest.mark.parametrize(('width', 'millions'), [(42, 0.72), (40, 0.66)])
def test_pnas_has_the_size_of_the_paper_at_width_42(width, millions):
    total = parameters(pnas(base_channels=width), 4 * width)
    assert total == pnas_by_hand(6, width)
    assert round(total / 1e6, 2) == millions
    with pytest.raises(ValueError, match='in_channels = 42'):
        pnas(HOGA, base_channels=42)


@pytest.mark.parametrize(
    ('build', 'arguments', 'papers', 'millions'),
    [(resnext, {}, 0.52, 0.522), (pnas, dict(base_channels=42), 0.03, 0.035)],
    ids=['resnext', 'pnas'],
)
def test_se_adds_as_many_parameters_as_in_the_paper(build, arguments, papers, millions):
    """Evidence for networks that the paper does not describe: the size of SE depends on the widths of the blocks."""
    added = parameters(build(SE, **arguments), 0) - parameters(build(**arguments), 0)
    assert round(added / 1e6, 3) == millions
    assert abs(added / 1e6 - papers) < 0.01


@pytest.mark.parametrize('stride', [1, 2])
def test_the_cell_by_hand(stride):
    torch.manual_seed(0)
    in_channels = 8 // stride
    cell = PNASCell(in_channels, 8, stride=stride, norm_cfg=BN).double().eval()
    for name, buffer in cell.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 2)
        elif name.endswith('running_mean'):
            buffer.uniform_(-0.2, 0.2)
    x = torch.randn(2, in_channels, 7, 6, dtype=torch.float64)

    def norm(y, bn):
        return (y - bn.running_mean[:, None, None]) / (bn.running_var[:, None, None] + bn.eps).sqrt()

    def depthwise(pair, k):
        weight, repeats = pair[0].weight, pair[0].out_channels // x.size(1)
        padded = F.pad(x, (k // 2,) * 4).unfold(2, k, stride).unfold(3, k, stride)  # (N, C, H', W', k, k)
        return norm(torch.einsum('nchwij,cij->nchw', padded.repeat_interleave(repeats, 1), weight[:, 0]), pair[1])

    pooled = F.pad(x, (1,) * 4, value=-torch.inf).unfold(2, 3, stride).unfold(3, 3, stride).amax((-2, -1))
    if stride == 2:
        conv, bn = cell.pool[1]
        pooled = norm(torch.einsum('nchw,oc->nohw', pooled, conv.weight[:, :, 0, 0]), bn)
    left = (depthwise(cell.separable7, 7) + depthwise(cell.separable3, 3)).relu()
    right = (pooled + depthwise(cell.separable5, 5)).relu()
    joined = torch.cat((left, right), 1)
    expected = norm(torch.einsum('nchw,oc->nohw', joined, cell.reduce[0].weight[:, :, 0, 0]), cell.reduce[1]).relu()
    assert all(0.2 < (y > 0).double().mean() < 1 for y in (left, right, expected))  # no ReLU hides a difference
    torch.testing.assert_close(cell(x), expected, rtol=1e-10, atol=1e-10)


def test_shapes():
    x = torch.rand(1, 3, 16, 16)
    shapes = [tuple(y.shape) for y in resnext(base_channels=8, depth=11, out_indices=(0, 1, 2))(x)]
    assert shapes == [(1, 32, 16, 16), (1, 64, 8, 8), (1, 128, 4, 4)]
    (y,) = pnas(base_channels=8, num_cells=1)(x)
    assert y.shape == (1, 32, 4, 4)


@pytest.mark.parametrize('cfg', [None, SE, CBAM, HOGA], ids=['plain', 'se', 'cbam', 'hoga'])
@pytest.mark.parametrize('build', [resnext, pnas])
def test_every_parameter_of_a_fresh_net_gets_a_finite_gradient(build, cfg):
    small = dict(depth=11, base_channels=8) if build is resnext else dict(base_channels=8, num_cells=1)
    torch.manual_seed(0)
    model = build(cfg, **small)
    model.init_weights()
    (y,) = model(torch.randn(4, 3, 16, 16))
    (y * torch.randn(y.shape)).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    if build is pnas:  # without a residual that zeroes it, no branch may start dead
        dead = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
        assert [name for name in dead if 'hoga' not in name and 'attention' not in name] == []


def test_a_plugin_follows_every_cell_of_its_stages():
    plugins = [dict(cfg=HOGA, position='after_cell', stages=(False, True, False))]
    model = CIFARPNASNet(base_channels=8, num_cells=2, plugins=plugins)
    cells = [name for name, _ in model.named_modules() if name.endswith('.hoga')]
    assert cells == ['layer2.0.hoga', 'layer2.1.hoga', 'layer2.2.hoga']


def test_two_plugins_of_one_name_need_a_postfix():
    plugins = [dict(cfg=SE, position='after_cell'), dict(cfg=CBAM, position='after_cell')]
    with pytest.raises(ValueError, match=r"called 'attention'.*postfix"):
        CIFARPNASNet(base_channels=8, num_cells=1, plugins=plugins)
    plugins[1] = dict(cfg=dict(CBAM, postfix='_2'), position='after_cell')
    cell = CIFARPNASNet(base_channels=8, num_cells=1, plugins=plugins).layer1[0]
    assert cell.plugin_names == ['attention', 'attention_2']


@pytest.mark.parametrize(('depth', 'nearest'), [(30, '29 and 38'), (28, '20 and 29'), (2, '11 and 20')])
def test_depth_of_a_resnext_is_9n_plus_2(depth, nearest):
    with pytest.raises(ValueError, match=rf'9n \+ 2, not {depth}: the nearest are {nearest}'):
        resnext(depth=depth)


def test_a_cell_has_one_position():
    with pytest.raises(ValueError, match=r"'after_conv2'.*Its positions: after_cell"):
        CIFARPNASNet(plugins=[dict(cfg=SE, position='after_conv2')])
