"""The stages of edges with 2 maps in Triton equal plain operators; run by Triton's interpreter.

Cells in test_cell.py have them with both memory formats, several edges, autocast and folded norms.
"""

import os

import pytest
import torch

pytest.importorskip('triton', reason='kernels in Triton need Triton')
if os.environ.get('TRITON_INTERPRET') != '1':
    pytest.skip('needs TRITON_INTERPRET=1 from the start; test_interpreter.py runs it so', allow_module_level=True)

from mmhoga.models.fast.choice import PLAIN
from mmhoga.models.fast.joint_cell import run_stages
from mmhoga.models.fast.joint_weights import Conv, Norm, Stage
from mmhoga.models.fast.triton.narrow import narrow_stages

# For each stage of an edge, its convolutions: outputs, inputs of a group, size, dilation.
KINDS = {
    'spatial': [[(2, 1, 3, 1), (2, 2, 1, 1)], [(2, 1, 3, 1), (1, 2, 1, 1)]],
    'dilated': [[(2, 1, 3, 2), (2, 2, 1, 1)], [(2, 1, 3, 1), (1, 2, 1, 1)]],
    'dense': [[(2, 2, 3, 1)], [(1, 2, 3, 2)]],
    'dense, then point-wise': [[(1, 2, 3, 2), (1, 1, 1, 1)]],
    'large': [[(1, 2, 7, 1)]],
}


def build(kind, edges=1, *, training=True, folded=False):
    """Stages with random weights and statistics."""
    stages = []
    for convs in KINDS[kind]:
        layers = []
        for i, (outputs, inputs, size, dilation) in enumerate(convs):
            weight = torch.randn(edges * outputs, inputs, size, size).requires_grad_()
            bias = torch.randn(edges * outputs) if folded and i + 1 == len(convs) else None
            groups = edges * (2 if inputs == 1 and outputs == 2 else 1)
            layers.append(Conv(weight, bias, (dilation * (size // 2),) * 2, (dilation,) * 2, groups))
        channels = edges * convs[-1][0]
        scale, shift = (torch.randn(channels).requires_grad_() for _ in range(2))
        norm = Norm(torch.randn(channels), torch.rand(channels) + 0.5, scale, shift, training, 0.3, 1e-3)
        stages.append(Stage(layers, None if folded else norm))
    return stages


def weights_of(stages):
    weights = [conv.weight for stage in stages for conv in stage.convs]
    return weights + [tensor for stage in stages for tensor in (stage.norm.weight, stage.norm.bias)]


def both(stages, x):
    """The result in Triton and by plain operators, each with its own copy of the running statistics."""
    copies = [
        stage._replace(norm=norm and norm._replace(mean=norm.mean.clone(), var=norm.var.clone()))
        for stage, norm in ((stage, stage.norm) for stage in stages)
    ]
    return narrow_stages(x, stages), run_stages([x], [copies], PLAIN)[0], copies


def close(actual, expected, tolerance=1e-4):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize(
    ('kind', 'edges', 'size', 'training'),
    [
        ('spatial', 2, (3, 4), True),
        ('spatial', 2, (3, 4), False),
        ('spatial', 1, (36, 30), True),
        ('spatial', 1, (1, 1), True),
        ('dilated', 1, (5, 4), True),
        ('dense', 2, (4, 5), True),
        ('dense', 1, (4, 5), False),
    ],
)
def test_values_gradients_and_statistics(kind, edges, size, training):
    """36 x 30 pixels are 2 blocks; their statistics are merged."""
    stages = build(kind, edges, training=training)
    x = (3 + torch.randn(2, 2 * edges, *size)).requires_grad_()
    actual, expected, copies = both(stages, x)
    close(actual, expected)
    for stage, copy in zip(stages, copies):
        close((stage.norm.mean, stage.norm.var), (copy.norm.mean, copy.norm.var))
    probe = torch.randn_like(expected)
    inputs = [x, *weights_of(stages)]
    close(*(torch.autograd.grad((y * probe).sum(), inputs) for y in (actual, expected)), tolerance=1e-3)


def test_statistics_of_a_large_mean():
    """In float32, a mean of squares minus a squared mean would be off by more than the variance."""
    stages = build('spatial')[:1]
    with torch.no_grad():  # the identity
        torch.nn.init.dirac_(stages[0].convs[0].weight, groups=2)
        torch.nn.init.dirac_(stages[0].convs[1].weight)
    norm = stages[0].norm
    norm.mean.zero_()
    norm.var.zero_()
    x = 3000 + torch.randn(2, 2, 36, 30)
    narrow_stages(x, stages)
    var, mean = torch.var_mean(x.double(), (0, 2, 3))
    torch.testing.assert_close((norm.mean / 0.3, norm.var / 0.3), (mean.float(), var.float()), rtol=1e-3, atol=0)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('folded', [False, True])
def test_without_gradients(kind, folded):
    with torch.no_grad():
        close(*both(build(kind, training=False, folded=folded), torch.randn(2, 2, 4, 3))[:2])


@pytest.mark.parametrize('training', [True, False])
def test_a_second_derivative(training):
    stages, x = build('spatial', training=training), torch.randn(2, 2, 3, 3, requires_grad=True)
    results = []
    for y in both(stages, x)[:2]:
        (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), [x, *weights_of(stages)]))
    for actual, expected in zip(*results):
        close(actual, expected, tolerance=1e-3 * max(1, expected.abs().max().item()))


def test_nan_stays():
    stages, x = build('spatial', training=False), torch.randn(1, 2, 9, 9)
    x[0, 0, 4, 4] = float('nan')
    with torch.no_grad():
        actual, expected, _ = both(stages, x)
    close(actual, expected)
    assert 0 < expected.isnan().sum() < 81


def test_what_the_plain_form_does():
    x = torch.randn(2, 4, 3, 3)
    wide = Conv(torch.randn(4, 4, 3, 3), None, (1, 1), (1, 1), 1)
    assert narrow_stages(x, [Stage([wide])]) is None, 'more than 2 maps per edge'
    uneven = Conv(torch.randn(2, 2, 3, 3), None, (0, 0), (1, 1), 2)
    assert narrow_stages(x, [Stage([uneven])]) is None, 'another size'
    assert narrow_stages(torch.randn(1, 2, 1, 1), build('spatial')) is None, 'one value per channel'
    assert narrow_stages(x, build('spatial', 2, folded=True)) is None, 'biases, and gradients'
