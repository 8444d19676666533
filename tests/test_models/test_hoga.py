import pytest
import torch
from cells import random_genotype, randomize
from textbook import hoga as textbook_hoga
from textbook import operation as textbook_operation

from mmhoga.genotype import PRIMITIVES
from mmhoga.models import HOGA, OPERATIONS, EdgeInput


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('name', PRIMITIVES)
def test_each_operation_equals_its_equation(name, training):
    torch.manual_seed(0)
    module = randomize(OPERATIONS[name](6, reduction=4).double()).train(training)
    x = torch.randn(3, 6, 5, 7, dtype=torch.float64)
    weights = {key: value.clone() for key, value in module.state_dict().items()}
    expected = textbook_operation(name, weights, x, training)
    torch.testing.assert_close(module(EdgeInput(x.unsqueeze(1))).squeeze(1), expected, rtol=0, atol=1e-12)


def test_every_operation_gates_between_zero_and_one():
    x = torch.randn(2, 1, 4, 6, 6)
    for name, build in OPERATIONS.items():
        gate = build(4).gate(EdgeInput(x)).expand_as(x)
        assert gate.min() >= 0 and gate.max() <= 1, name


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('summary', ['nodes', 'inputs'])
@pytest.mark.parametrize('num_groups', [1, 2, 4, 8])
def test_equations_2_and_3(num_groups, summary, training):
    torch.manual_seed(num_groups)
    for seed in range(4):
        genotype = random_genotype(num_groups, seed)
        cell = randomize(HOGA(16, genotype=genotype, summary=summary).double()).train(training)
        x = torch.randn(2, 16, 6, 5, dtype=torch.float64, requires_grad=True)
        expected = textbook_hoga(cell, x)
        probe = torch.randn_like(expected)
        parameters = [x, *cell.parameters()]
        expected_gradients = torch.autograd.grad((expected * probe).sum(), parameters, allow_unused=True)
        actual = cell(x)
        gradients = torch.autograd.grad((actual * probe).sum(), parameters, allow_unused=True)
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
        for gradient, expected_gradient in zip(gradients, expected_gradients):
            if expected_gradient is None:  # after an edge with none
                assert gradient is None or not gradient.any()
            else:
                torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-9)


def test_with_none_on_all_edges_only_the_shortcut_is_left():
    cell = HOGA(8, genotype=[['none'], ['none', 'none']]).eval()
    x = torch.randn(2, 8, 4, 4)
    gate = cell.output_attention.gate(EdgeInput(x.unsqueeze(1))).squeeze(1)
    torch.testing.assert_close(cell(x), gate * x)


def test_an_identity_cell_has_the_closed_form_of_eq_2():
    """With skip_connect on every edge U_k = F_k + sum_{j<k} U_j, so U_k = F_k + sum_{j<k} 2^(k-j-1) F_j."""
    cell = HOGA(12, genotype=[['skip_connect'] * (k + 1) for k in range(3)])
    seen = {}
    cell.phi.register_forward_pre_hook(lambda module, args: seen.update(nodes=args[0]))
    f = torch.randn(2, 3, 4, 5, 5)
    cell(f.flatten(1, 2))
    u0, u1, u2, _ = seen['nodes'].split(4, dim=1)
    torch.testing.assert_close(u0, f[:, 0])
    torch.testing.assert_close(u1, f[:, 1] + f[:, 0])
    torch.testing.assert_close(u2, f[:, 2] + f[:, 1] + 2 * f[:, 0])


def test_squeezes_never_reach_zero_hidden_units():
    cell = HOGA(16)  # 4 channels per group, squeezed by 16
    assert cell.summary_attention.squeeze.out_channels == 1


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(in_channels=18), 'K = 4 groups, but 4 does not divide in_channels = 18'),
        (dict(in_channels=16, summary='outputs'), "summary must be one of .* not 'outputs'"),
        (dict(in_channels=16, genotype='nothing'), 'Unknown genotype'),
        (dict(in_channels=-4), r'in_channels must be an integer of at least 1, not -4'),
        (dict(in_channels=16.0), r'in_channels must be an integer of at least 1, not 16\.0'),
        (dict(in_channels=16, output_reduction=-1), r'output_reduction must be an integer of at least 1, not -1'),
        (dict(in_channels=16, summary_reduction=0), 'summary_reduction must be an integer of at least 1, not 0'),
        (dict(in_channels=16, operation_reduction=float('nan')), 'operation_reduction must be an integer'),
        (dict(in_channels=16, start='zero'), "start must be one of .*'random', 'identity'.*not 'zero'"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        HOGA(**kwargs)


def test_an_input_of_another_width():
    with pytest.raises(ValueError, match=r'built for 16 channels and got an input of shape \(1, 32, 4, 4\)'):
        HOGA(16)(torch.rand(1, 32, 4, 4))


def test_memory_formats_agree():
    cell = HOGA(16).eval()
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(cell(x.contiguous(memory_format=torch.channels_last)), cell(x))
