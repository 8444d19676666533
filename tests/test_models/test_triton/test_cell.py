"""A cell with ``triton=True`` equals the plain one in every mode and makes fewer calls; run by Triton's interpreter."""

import copy
import os
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('triton', reason='kernels in Triton need Triton')
if os.environ.get('TRITON_INTERPRET') != '1':
    pytest.skip('needs TRITON_INTERPRET=1 from the start; test_interpreter.py runs it so', allow_module_level=True)

from cells import randomize

from mmhoga.genotype import Genotype
from mmhoga.models import HOGA
from mmhoga.models.fast.choice import PLAIN, chosen, triton_form

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / 'benchmarks'))
from side_by_side import calls

FORMATS = {'NCHW': torch.contiguous_format, 'NHWC': torch.channels_last}
# Each primitive on two edges of one level, with two inputs or one, and on an edge from a node.
PAIRS = {
    name: [[name], [name, 'skip_connect'], [name, 'none', name]]
    for name in ('norm_3x3', 'norm_3x3_d2', 'spatial_3x3', 'spatial_3x3_d2', 'se', 'se_avgmax', 'cbam')
}
SKIPS = [['skip_connect'], ['skip_connect', 'none'], ['none', 'skip_connect', 'skip_connect'], ['none'] * 3 + ['se']]
# Nodes that are inputs or other nodes, nodes with more than 4 edges, and more groups than one launch sums.
COPIES = [
    *SKIPS,
    ['se_avgmax', 'skip_connect', 'norm_3x3', 'skip_connect', 'se'],
    ['none'] * 4 + ['skip_connect', 'none'],
]
GENOTYPES = {'autola': 'autola', 'none': [['none'], ['none', 'none']], 'skips': SKIPS, 'copies': COPIES, **PAIRS}


def pair(genotype, channels=None, **options):
    """A cell with kernels in Triton and its plain copy."""
    torch.manual_seed(0)
    channels = channels or 4 * Genotype.from_config(genotype).num_groups
    cell = randomize(HOGA(channels, genotype=genotype, triton=True, **options))
    plain = HOGA(channels, genotype=genotype, **options)
    plain.load_state_dict(cell.state_dict())
    return cell, plain


def close(actual, expected, tolerance=1e-4):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


MODES = {name: [(True, 'NHWC'), (False, 'NCHW')] for name in GENOTYPES}
for name in ('autola', 'spatial_3x3', 'spatial_3x3_d2', 'cbam'):  # they take long; test_narrow.py has both modes
    MODES[name] = [(True, 'NHWC')]


@pytest.mark.parametrize(
    ('genotype', 'training', 'memory'), [(name, *mode) for name, modes in MODES.items() for mode in modes]
)
def test_values_gradients_and_statistics(genotype, training, memory):
    genotype, memory = GENOTYPES[genotype], FORMATS[memory]
    cells = pair(genotype, start='identity' if training else 'random', summary='nodes' if training else 'inputs')
    x = torch.randn(2, cells[0].in_channels, 7, 6).to(memory_format=memory)
    probe = torch.randn_like(x)
    results = []
    for cell in cells:
        inputs = x.clone().requires_grad_()
        y = cell.train(training)(inputs)
        (y * probe).sum().backward()
        gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in cell.named_parameters()}
        results.append((y, inputs.grad, gradients, dict(cell.named_buffers())))
        assert y.stride() == x.stride()
    close(*results, tolerance=5e-4)
    with torch.no_grad():
        expected = cells[1].eval()(x)
        close(cells[0].eval()(x), expected)
        close(cells[0].fuse()(x), expected)
    cells[1].fuse()
    x.requires_grad_()
    close(*(torch.autograd.grad((cell(x) * probe).sum(), x)[0] for cell in cells), tolerance=5e-4)


@pytest.mark.parametrize('norm_cfg', [dict(type='BN', eps=1e-3), dict(type='GN', num_groups=2)], ids=['BN', 'GN'])
def test_norms(norm_cfg):
    cell, plain = pair('autola', 16, norm_cfg=norm_cfg)
    x = torch.randn(2, 16, 5, 5)
    close(cell(x), plain(x))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    cell, plain = pair('autola', 16)
    x = torch.randn(2, 16, 5, 5)
    with torch.no_grad():
        exact = plain.eval()(x)
        error = (plain.to(dtype)(x.to(dtype)).float() - exact).abs().max()
        y = cell.eval().to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert (y.float() - exact).abs().max() < 2 * error + 1e-3


def test_autocast():
    cell, plain = pair('autola', 16)
    x = torch.randn(2, 16, 5, 5)
    expected = plain(x)
    with torch.autocast('cpu', torch.bfloat16):
        y = cell(x)
        y.float().sum().backward()
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.3)
    assert all(parameter.grad.dtype == torch.float32 for parameter in cell.parameters())


def test_a_second_derivative():
    cells = pair('autola', 16)
    x = torch.randn(2, 16, 5, 5)
    results = []
    for cell in cells:
        inputs = x.clone().requires_grad_()
        grad = torch.autograd.grad(cell.eval()(inputs).square().sum(), inputs, create_graph=True)[0]
        results.append(torch.autograd.grad(grad.square().sum(), inputs)[0])
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3 * results[1].abs().max().item())


def test_the_form_depends_on_the_input():
    x = torch.randn(1, 4, 3, 3)
    assert chosen(x, True) is triton_form()
    assert chosen(x.double(), True) is PLAIN
    assert chosen(x, False) is PLAIN
    torch.func.vmap(lambda x: x if chosen(x, True) is PLAIN else 1 / 0)(x)


def test_a_trace_and_a_copy():
    cell, plain = pair(PAIRS['se'])
    x = torch.randn(2, 12, 5, 5)
    with torch.no_grad():
        close(torch.jit.trace(cell.eval(), x)(x), plain.eval()(x))
        close(copy.deepcopy(cell)(x), plain(x))


def test_calls():
    """205, 58 and 50 in the plain form. A launch counts as a call."""
    cell = HOGA(64, genotype='autola', triton=True).to(memory_format=torch.channels_last)
    x = torch.randn(2, 64, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    probe = torch.ones_like(x)

    def step():
        cell(x).backward(probe)
        cell.zero_grad()
        x.grad = None

    def infer():
        with torch.inference_mode():
            cell(x)

    step()
    assert calls(step) <= 95
    cell.eval()
    assert calls(infer) <= 36
    cell.fuse()
    assert calls(infer) <= 29
