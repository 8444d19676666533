"""The positions of plugins in a block, and their effect on initialisation and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmhoga.backbones import CIFARResNet, ResNet
from mmhoga.backbones.blocks import BasicBlock, Bottleneck

BLOCKS = {'basic': (BasicBlock, 8), 'bottleneck': (Bottleneck, 16)}


class Spy(nn.Module):
    """Stores its input; its output differs from that of any norm or ReLU."""

    _abbr_ = 'spy'

    def __init__(self, in_channels):
        super().__init__()
        self.in_channels = in_channels

    def forward(self, x):
        self.seen = x
        return x.square() - 3


def plugin(position, **cfg):
    return dict(cfg=dict(type=Spy, **cfg), position=position)


def build(kind, **arguments):
    block, in_channels = BLOCKS[kind]
    model = block(in_channels, in_channels // block.expansion, width=in_channels // block.expansion, **arguments)
    return model.eval(), torch.randn(2, in_channels, 5, 5, generator=torch.Generator().manual_seed(0))


def by_hand(block, x, position, act):
    """The block of the ResNet paper, with ``act`` after the convolution of that number."""
    y = x
    for i in range(1, len(block.positions) + 1):
        y = getattr(block, f'bn{i}')(getattr(block, f'conv{i}')(y))
        if i < len(block.positions):
            y = y.relu()
        if position == f'after_conv{i}':
            seen, y = y, act(y)
    return seen, (y + x).relu()


@pytest.mark.parametrize(
    ('kind', 'position'), [(kind, position) for kind, (block, _) in BLOCKS.items() for position in block.positions]
)
def test_a_plugin_follows_norm_and_relu_of_its_convolution(kind, position):
    block, x = build(kind, plugins=[plugin(position)])
    output = block(x)
    seen, expected = by_hand(block, x, position, lambda y: y.square() - 3)
    torch.testing.assert_close(block.spy.seen, seen)
    torch.testing.assert_close(output, expected)
    assert block.spy.in_channels == seen.size(1)
    assert (seen.min() < 0) == (position == block.positions[-1])


def test_plugins_of_one_position_run_in_the_order_given():
    block, x = build('basic', plugins=[plugin('after_conv1', postfix='_b'), plugin('after_conv1', postfix='_a')])
    block(x)
    torch.testing.assert_close(block.spy_a.seen, block.spy_b.seen.square() - 3)


def test_a_plugin_after_the_last_norm_may_need_its_output_in_the_backward_pass():
    class Exponential(nn.Module):
        def __init__(self, in_channels):
            super().__init__()

        def forward(self, x):
            return x.exp()  # its gradient is its output

    block, x = build('basic', plugins=[dict(cfg=dict(type=Exponential), position='after_conv2')])
    block(x.requires_grad_()).sum().backward()
    assert x.grad.isfinite().all()


def test_two_plugins_of_one_name_need_a_postfix():
    with pytest.raises(ValueError, match=r"called 'spy'.*postfix"):
        build('basic', plugins=[plugin('after_conv1'), plugin('after_conv2')])


@pytest.mark.parametrize('kind', BLOCKS)
def test_with_cp_changes_only_memory(kind):
    results = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        hoga = dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')
        block = BLOCKS[kind][0](16, 4 if kind == 'bottleneck' else 16, width=4, plugins=[hoga], with_cp=with_cp)
        x = torch.randn(2, 16, 6, 6, requires_grad=True)
        y = block(x)
        (y * torch.randn(y.shape)).sum().backward()
        results.append([y, x.grad, *(p.grad for p in block.parameters())])
    torch.testing.assert_close(results[0], results[1])


HOGA = dict(type='mmhoga.HOGA')
SEARCHABLE = dict(type='mmhoga.SearchableHOGA')
SE = dict(type='mmhoga.Attention', name='se')
CBAM = dict(type='mmhoga.Attention', name='cbam')


def small(depth, cfg, position, **arguments):
    plugins = [dict(cfg=cfg, position=position)]
    torch.manual_seed(0)
    if depth == 8:
        model = CIFARResNet(8, base_channels=8, plugins=plugins, **arguments)
    else:
        model = ResNet(depth, num_stages=1, base_channels=16, plugins=plugins, **arguments)
    model.init_weights()
    return model


@pytest.mark.parametrize(
    ('depth', 'cfg', 'position', 'value'),
    [
        (18, HOGA, 'after_conv2', 1),
        (18, SEARCHABLE, 'after_conv2', 1),
        (18, HOGA, 'after_conv1', 0),
        (18, SE, 'after_conv2', 0),
        (50, HOGA, 'after_conv2', 0),
        (50, HOGA, 'after_conv3', 1),
        (50, CBAM, 'after_conv3', 0),
        (8, HOGA, 'after_conv2', 1),
        (8, SE, 'after_conv2', 0),
    ],
)
def test_zero_init_skips_the_norm_before_a_plugin_that_normalizes(depth, cfg, position, value):
    for zero, expected in ((True, value), (False, 1)):
        model = small(depth, cfg, position, zero_init_residual=zero)
        for block in model.layer1:
            assert (getattr(block, block.norm_names[-1]).weight == expected).all()
            assert (block.bn1.weight == 1).all()


def backward(model):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    y = model(x)[-1]
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).mean().backward()


@pytest.mark.parametrize('zero_init_residual', [True, False])
@pytest.mark.parametrize('depth', [8, 18, 50])
@pytest.mark.parametrize('cfg', [HOGA, SEARCHABLE, SE, CBAM], ids=['hoga', 'searchable', 'se', 'cbam'])
def test_every_parameter_of_a_fresh_model_gets_a_finite_gradient(cfg, depth, zero_init_residual):
    hoga = 'HOGA' in cfg['type']
    position = 'after_conv2' if hoga or depth != 50 else 'after_conv3'
    model = small(depth, cfg, position, zero_init_residual=zero_init_residual)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backward(model)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    if not hoga:
        return
    optimizer.step()
    backward(model)
    for name in model.res_layers:
        for block in getattr(model, name):
            gradients = [p.grad for p in block.hoga.parameters()]
            assert all(gradient.isfinite().all() for gradient in gradients)
            dead = sum(not gradient.any() for gradient in gradients)
            assert dead <= len(gradients) // 4, f'{dead} of {len(gradients)} parameters get no gradient'


def test_with_a_zeroed_norm_hoga_would_not_train():
    """With a zeroed norm only one shift of HOGA gets a gradient."""
    model = small(18, HOGA, 'after_conv2')
    nn.init.zeros_(model.layer1[1].bn2.weight)
    backward(model)
    alive = [name for name, p in model.layer1[1].hoga.named_parameters() if p.grad.any()]
    assert alive == ['phi.4.bias']
