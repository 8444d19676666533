"""The identity start: what a cell computes before any step, what learns first, and what it computes when trained."""

import copy

import pytest
import torch
from cells import randomize
from torch import nn

from mmhoga.models import HOGA, Attention, SearchableHOGA
from mmhoga.models.attention import NAMES
from mmhoga.models.start import Blend

CELLS = {
    'HOGA': lambda **start: HOGA(16, genotype='autola', **start),
    'HOGA, summary of inputs': lambda **start: HOGA(
        16, genotype=[['cbam'], ['se', 'cbam']], summary='inputs', operation_reduction=1, **start
    ),
    'HOGA, K = 1': lambda **start: HOGA(16, genotype=[['norm_3x3']], **start),
    'SearchableHOGA': lambda **start: SearchableHOGA(16, num_groups=2, **start),
}


def of_timm(name, **kwargs):
    return lambda **start: Attention(16, name=name, **kwargs, **start)


SETTINGS = {
    'se': dict(rd_ratio=1 / 4),
    'bottleneck': dict(feat_size=8, num_heads=4, dim_head=4),
    'halo': dict(block_size=4, halo_size=2, num_heads=4, dim_head=4),
    'lambda': dict(feat_size=8, num_heads=4, dim_head=4),
    'bat': dict(block_size=4),
    'lcbam': dict(rd_ratio=1 / 2),
}
TIMM = {name: of_timm(name, **SETTINGS.get(name, {})) for name in NAMES}
TIMM['ge, learned'] = of_timm('ge', extra_params=True, extent=0, use_mlp=False, feat_size=8)
TIMM['gc, added'] = of_timm('gc', fuse_add=True, fuse_scale=False)
TIMM['se, other gate'] = of_timm('se', rd_ratio=1 / 4, gate_layer='hard_sigmoid')
TIMM['se, gate without 1/2'] = of_timm('se', rd_ratio=1 / 4, gate_layer='relu')
ALL = {**CELLS, **TIMM}


def build(name, start='identity'):
    torch.manual_seed(0)
    return ALL[name](start=start)


def maps(dtype=torch.float32):
    return torch.randn(2, 16, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('name', ALL)
@torch.no_grad()
def test_the_output_is_the_input(name, dtype):
    cell, x = build(name).to(dtype), maps(dtype)
    assert cell.is_identity()
    for training in (True, False):
        output = cell.train(training)(x)
        assert output.dtype == dtype
        assert torch.equal(output, x)


def gradients(cell, steps):
    """After each step of SGD, the names of the parameters that had a gradient other than 0."""
    optimizer, names = torch.optim.SGD(cell.parameters(), lr=1e-3), []
    target = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(2))
    for _ in range(steps):
        optimizer.zero_grad()
        ((cell(maps()) - target) ** 2).sum().backward()
        optimizer.step()
        names.append({name for name, p in cell.named_parameters() if p.grad is not None and p.grad.any()})
    return names


@pytest.mark.parametrize('name', ALL)
def test_every_parameter_learns_from_the_second_step(name):
    cell = build(name).train()
    first, second = gradients(cell, 2)
    assert first
    assert not cell.is_identity()
    if name in CELLS:
        assert first == {'phi.4.weight', 'phi.4.bias', 'output_attention.excite.weight'}
    assert second == {name for name, _ in cell.named_parameters()}


@pytest.mark.parametrize('name', ALL)
@torch.no_grad()
def test_init_weights_restores_the_identity(name):
    """A backbone initialises all its layers, those of the cell too, and then calls this method."""
    cell, x = build(name).eval(), maps()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.1)
    assert not cell.is_identity() and not torch.equal(cell(x), x)
    cell.init_weights()
    assert cell.is_identity() and torch.equal(cell(x), x)


@pytest.mark.parametrize('name', ALL)
@torch.no_grad()
def test_a_trained_cell_computes_the_attention_times_a_constant(name):
    """The same weights with ``start='random'`` give the output divided by 2 per gate, or without the blend."""
    cell, x = randomize(build(name)).eval(), maps()
    plain = build(name, 'random').eval()
    state = cell.state_dict()
    scale = state.pop('blend.scale', None)
    plain.load_state_dict(state)
    if scale is None:
        gates = getattr(cell, '_factor', 2)
        assert gates == (4 if 'cbam' in name else 1 if name in ('nl', 'gca', 'gc, added') else 2) or name in CELLS
        expected = gates * plain(x)
    else:
        expected = (1 - scale) * x + scale * plain(x)
    torch.testing.assert_close(cell(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['HOGA', 'SearchableHOGA', 'se', 'nl', 'eca'])
def test_a_trained_checkpoint_loads(name):
    cell = build(name).train()
    gradients(cell, 2)
    other = build(name)
    other.load_state_dict(copy.deepcopy(cell.state_dict()), strict=True)
    assert not other.is_identity()
    assert torch.equal(other.eval()(maps()), cell.eval()(maps()))


@torch.no_grad()
def test_a_derived_cell_has_the_start_of_its_supernet():
    supernet, x = build('SearchableHOGA').eval(), maps()
    assert supernet.derive().start == 'identity'
    assert torch.equal(supernet.derive().eval()(x), x)
    alpha = torch.full_like(supernet.alpha, -1e4)
    randomize(supernet)
    supernet.alpha.copy_(alpha)
    supernet.alpha[:, supernet.primitives.index('se')] = 1e4
    derived = supernet.derive()
    assert not derived.is_identity()
    torch.testing.assert_close(derived(x), supernet(x), rtol=1e-4, atol=1e-4)
    assert build('SearchableHOGA', 'random').derive().start == 'random'


def test_a_blend():
    blend = Blend(3)
    nn.init.constant_(blend.scale, 0.25)
    x, y = torch.full((1, 3, 1, 1), 2.0), torch.full((1, 3, 1, 1), 4.0)
    assert torch.equal(blend(x, y), torch.full((1, 3, 1, 1), 2.5))


@pytest.mark.parametrize('cell', [CELLS['HOGA'], CELLS['SearchableHOGA'], TIMM['se']])
def test_an_unknown_start(cell):
    with pytest.raises(ValueError, match=r"start must be one of \('random', 'identity'\), not 'zero'"):
        cell(start='zero')
