"""What goes into a cell: empty batches, checkpointing, inputs and arguments that are wrong."""

import copy
import importlib.util
import math

import pytest
import torch
from cells import randomize
from torch.utils.checkpoint import checkpoint

from mmhoga.models import HOGA, Attention, AugmentedConv2d, SearchableHOGA

CELLS = {
    **{name: lambda name=name: HOGA(8, genotype=name) for name in ('autola', 'hog_se', 'hog_cbam')},
    'supernet': lambda: SearchableHOGA(8),
}
FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.fixture(params=CELLS)
def cell(request):
    return randomize(CELLS[request.param]())


@pytest.mark.parametrize('training', [True, False])
def test_an_empty_batch(cell, training):
    """Such as that of a detector's second stage without proposals: zero gradients, and unchanged statistics."""
    cell.train(training)
    before = {name: b.clone() for name, b in cell.named_buffers() if 'running' in name}
    for memory_format in FORMATS:
        x = torch.empty(0, 8, 5, 4).to(memory_format=memory_format).requires_grad_()
        y = cell(x)
        y.sum().backward()
        assert y.shape == x.shape == x.grad.shape
    assert all(p.grad is not None and not p.grad.any() for p in cell.parameters())
    assert before and all(torch.equal(b, before[n]) for n, b in cell.named_buffers() if n in before)


@pytest.mark.parametrize('training', [True, False])
def test_activation_checkpointing(cell, training):
    """``with_cp`` of a backbone: the gradients are those without it."""
    cell.train(training)
    twin = copy.deepcopy(cell)
    x = torch.randn(2, 8, 5, 4)
    results = []
    for module, run in ((cell, cell), (twin, lambda x: checkpoint(twin, x, use_reentrant=False))):
        x = x.detach().requires_grad_()
        run(x).square().sum().backward()
        results.append((x.grad, {name: p.grad for name, p in module.named_parameters()}))
    torch.testing.assert_close(*results)


def test_every_cell_takes_slices_and_strange_strides(cell):
    cell.eval()
    x = torch.randn(2, 8, 6, 9)
    for strange in (x[..., ::2], x.transpose(2, 3), x[:, :, 1:-1, 2:5], x[:1].expand(3, -1, -1, -1), x.flip(0)):
        torch.testing.assert_close(cell(strange), cell(strange.contiguous()))


@pytest.mark.parametrize(
    ('x', 'found'),
    [
        (torch.rand(8, 4, 4), r'shape \(8, 4, 4\).*x\[None\]'),
        (torch.rand(8, 8), r'shape \(8, 8\) and torch.float32\.$'),
        (torch.rand(1, 8, 2, 2, 2), r'\(1, 8, 2, 2, 2\)'),
        (torch.ones(1, 8, 2, 2, dtype=torch.uint8), 'torch.uint8'),
        ([1.0], 'a list'),
        (torch.rand(1, 4, 2, 2), 'built for 8 channels'),
        (torch.rand(1, 8, 0, 2), 'without pixels'),
    ],
)
def test_a_wrong_input_is_named(cell, x, found):
    with pytest.raises(ValueError, match=found):
        cell(x)


def test_one_pixel_in_training_is_an_error_of_the_norms(cell):
    """A batch norm has no variance then, and says so; without training there is none to estimate."""
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        cell(torch.rand(1, 8, 1, 1))
    assert cell.eval()(torch.rand(1, 8, 1, 1)).isfinite().all()


INTEGERS = (-1, 0, True, 4.0, 2.5, math.nan, math.inf, '4', None, [4])
NAMES = (None, 1, True, math.nan, '', 'Nodes', ['nodes'], {})
ARGUMENTS = {
    **dict.fromkeys(('in_channels', 'summary_reduction', 'output_reduction', 'operation_reduction'), INTEGERS),
    **dict.fromkeys(('summary', 'start'), NAMES),
    'norm_cfg': (1, 'BN', [], {}, {'type': 'LN'}, {'type': 'nothing'}, {'type': 3}, {'type': 'GN'},
                 {'type': 'GN', 'num_groups': 0}, {'type': 'BN', 'affine': False}, {'type': 'BN', 'epsilon': 1}),
}  # fmt: skip


@pytest.mark.parametrize('kind', [HOGA, SearchableHOGA])
def test_arguments_are_checked_where_they_enter(kind):
    special = {
        HOGA: {'genotype': (None, 3, [], {}, '', [['se', 'se']], math.nan, b'autola')},
        SearchableHOGA: {
            'num_groups': (*INTEGERS, 3, 16),
            'primitives': (None, 1, 'se', [], ['none'], ['se', 'se'], ['sse'], [['se']], [None], {'se': 1}),
        },
    }
    for name, values in {**ARGUMENTS, **special[kind]}.items():
        for value in values:
            with pytest.raises(ValueError) as error:
                kind(**{'in_channels': 8, name: value})
            text = str(error.value)
            assert name in text or name in ('genotype', 'primitives') or 'K = ' in text, (name, value, text)
            assert len(text) < 500 and '\n' not in text


@pytest.mark.parametrize('kind', [HOGA, SearchableHOGA])
def test_messages_are_short_whatever_the_argument(kind):
    for name in ('in_channels', 'summary', 'start', 'output_reduction'):
        with pytest.raises(ValueError) as error:
            kind(**{'in_channels': 8, name: 'x' * 10_000})
        assert len(str(error.value)) < 300


def test_the_other_attentions_check_their_arguments_too():
    build = {
        AugmentedConv2d: dict(in_channels=8, out_channels=32, kernel_size=3, padding=1, feat_size=8),
        Attention: dict(in_channels=8, name='se'),
    }
    AugmentedConv2d(**build[AugmentedConv2d])
    integers = ('in_channels', 'out_channels', 'feat_size', 'num_heads', 'min_head_channels', 'attention_stride')
    wrong = [(AugmentedConv2d, name, value) for name in integers for value in INTEGERS]
    shares = (-0.1, 1.5, True, math.nan, math.inf, '0.5', None)
    wrong += [(AugmentedConv2d, name, value) for name in ('key_ratio', 'value_ratio') for value in shares]
    wrong += [(Attention, 'in_channels', value) for value in INTEGERS]
    if importlib.util.find_spec('timm'):
        wrong += [(Attention, name, value) for name in ('name', 'start') for value in (None, 1, math.nan, 'Nodes', [])]
    for kind, name, value in wrong:
        with pytest.raises(ValueError, match=f'{name}|timm has no attention'):
            kind(**{**build[kind], name: value})
