"""Attention-augmented convolution, compared with loops over all pairs of positions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmhoga.backbones import ResNet
from mmhoga.models.augmented import AugmentedConv2d

# Map size and attention_stride in ResNet-50, from the second stage, which attends over maps of half its size.
STAGES = ((14, 2), (14, 1), (7, 1))


def augmented(in_channels=6, out_channels=8, kernel_size=3, *, padding=1, **arguments):
    torch.manual_seed(0)
    arguments = {'feat_size': 5, 'num_heads': 2, 'value_ratio': 0.5, 'min_head_channels': 3, **arguments}
    return AugmentedConv2d(in_channels, out_channels, kernel_size, padding=padding, **arguments).double()


def by_loops(layer, x, *, stride=1, attention_stride=1):
    """The equations of the class, with loops over images, heads, queries and keys."""
    convolved = layer.conv(x)
    for s in (stride, attention_stride):
        x = pooled(x, s) if s > 1 else x
    images, _, height, width = x.shape
    heads = layer.num_heads
    weight = layer.qkv.weight[:, :, 0, 0]
    rows, values = weight.split((layer.keys, layer.keys, layer.values)), layer.values // heads
    keys = layer.keys // heads
    attended = x.new_zeros(images, layer.values, height, width)
    positions = [(y, z) for y in range(height) for z in range(width)]
    for n in range(images):
        for h in range(heads):
            q_map, k_map = (part[h * keys : (h + 1) * keys] for part in rows[:2])
            v_map = rows[2][h * values : (h + 1) * values]
            for y, z in positions:
                query = q_map @ x[n, :, y, z]
                logits = []
                for v, w in positions:
                    offset_h = layer.rel_h[v - y + layer.feat_size - 1]
                    offset_w = layer.rel_w[w - z + layer.feat_size - 1]
                    logits.append(query @ (k_map @ x[n, :, v, w] + offset_h + offset_w) / math.sqrt(keys))
                weights = [math.e**logit for logit in logits]
                total = sum(weights)
                attended[n, h * values : (h + 1) * values, y, z] = sum(
                    weight / total * (v_map @ x[n, :, v, w]) for weight, (v, w) in zip(weights, positions)
                )
    mixed = torch.einsum('oi,nihw->nohw', layer.out.weight[:, :, 0, 0], attended)
    if attention_stride > 1:
        mixed = F.interpolate(mixed, size=convolved.shape[-2:], mode='bilinear', align_corners=False)
    return torch.cat((convolved, mixed), dim=1)


def pooled(x, stride):
    """3x3 average pooling with zero padding, by its definition."""
    padded = F.pad(x, (1, 1, 1, 1))
    columns = [
        torch.stack([padded[:, :, y : y + 3, z : z + 3].sum((2, 3)) / 9 for z in range(0, x.size(3), stride)], dim=-1)
        for y in range(0, x.size(2), stride)
    ]
    return torch.stack(columns, dim=-2)


@pytest.mark.parametrize(
    ('size', 'arguments'),
    [
        ((3, 4), {}),
        ((5, 2), dict(num_heads=1, key_ratio=0.75)),
        ((5, 6), dict(stride=2)),
        ((5, 6), dict(attention_stride=2)),
        ((8, 7), dict(stride=2, attention_stride=2)),
    ],
    ids=str,
)
def test_outputs_and_gradients_equal_those_of_the_loops(size, arguments):
    layer = augmented(**arguments)
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    strides = {key: value for key, value in arguments.items() if 'stride' in key}
    fast, slow = layer(x), by_loops(layer, x, **strides)
    assert fast.shape == (2, 8, *(math.ceil(s / arguments.get('stride', 1)) for s in size))
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    direction = torch.randn_like(fast)
    inputs = (x, *layer.parameters())
    gradients = [torch.autograd.grad((y * direction).sum(), inputs) for y in (fast, slow)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_without_relative_positions_attention_is_permutation_equivariant():
    """Permuted inputs give permuted outputs unless there are learned offsets."""
    layer, x = augmented(), torch.randn(1, 6, 4, 4, dtype=torch.float64)
    order = torch.randperm(16)

    def permuted(maps):
        return maps.flatten(2)[..., order].reshape(maps.shape)

    def attention(maps):
        return layer(maps)[:, -layer.values :]

    assert not torch.allclose(attention(permuted(x)), permuted(attention(x)))
    nn.init.zeros_(layer.rel_h)
    nn.init.zeros_(layer.rel_w)
    torch.testing.assert_close(attention(permuted(x)), permuted(attention(x)))


def resnet50(stages=STAGES, **arguments):
    cfgs = [
        dict(type='mmhoga.AugmentedConv2d', feat_size=size, attention_stride=stride, **arguments)
        for size, stride in stages
    ]
    return ResNet(50, stage_conv_cfgs=(None, *cfgs))


@pytest.mark.parametrize(('ratios', 'millions'), [((0.25, 0.25), 24.30), ((0.2, 0.1), 25.78)])
def test_parameters_of_resnet50(ratios, millions):
    """Only 0.25 and 0.25 give the 24.30 M of Table 5. With 0.1 the values are rounded to a multiple of the heads."""
    model = resnet50(key_ratio=ratios[0], value_ratio=ratios[1])
    total = sum(p.numel() for p in model.parameters()) + 2049 * 1000
    by_hand = 25_557_032
    for blocks, width, size in ((4, 128, 14), (6, 256, 14), (3, 512, 7)):
        values = {0.25: width // 4, 0.1: {128: 16, 256: 24, 512: 48}[width]}[ratios[1]]
        head = max(20, round(ratios[0] * width) // 8)
        by_hand += blocks * (width * (16 * head + values) - 9 * width * values + values**2 + 2 * (2 * size - 1) * head)
    assert total == by_hand
    assert round(total / 1e6, 2) == millions


def test_the_first_stage_has_plain_convolutions_and_the_others_augmented_ones():
    model = resnet50()
    for i, name in enumerate(model.res_layers):
        kinds = {type(block.conv2) for block in getattr(model, name)}
        assert kinds == {nn.Conv2d if i == 0 else AugmentedConv2d}
        assert {type(block.conv1) for block in getattr(model, name)} == {nn.Conv2d}


def test_every_parameter_of_a_fresh_network_gets_a_finite_gradient():
    torch.manual_seed(0)
    model = resnet50(((4, 2), (4, 1), (2, 1)))
    model.init_weights()
    (y,) = model(torch.randn(2, 3, 64, 64))
    (y * torch.randn(y.shape)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(value_ratio=0.1), r'value_ratio=0\.1 gives the attention 0 of 8 .*num_heads=2'),
        (dict(value_ratio=1.0), r'value_ratio=1\.0 gives the attention 8 of 8 .*for both attention and convolution'),
        (dict(num_heads=16), r'0 of 8 output channels.*num_heads=16'),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        augmented(**arguments)


def test_a_map_larger_than_the_embeddings():
    layer = augmented(feat_size=4)
    layer(torch.rand(1, 6, 4, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r'feat_size=4 and got one of 3 x 6\. Build it with feat_size=6'):
        layer(torch.rand(1, 6, 3, 6, dtype=torch.float64))
