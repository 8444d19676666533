"""The joint form of a derived cell equals its modules one by one, and gives way where they must be called."""

import copy
import pickle

import pytest
import torch
from cells import random_genotype, randomize
from torch import nn

from mmhoga.genotype import Genotype
from mmhoga.models import HOGA
from mmhoga.models.fast import joint
from mmhoga.models.fast.kernels.pools import pixel_mean
from mmhoga.models.fast.schedule import schedule
from mmhoga.models.hoga import GroupAttention

# Each primitive on two edges of one level, with two inputs or one.
PAIRS = {
    name: [[name], [name, 'skip_connect'], [name, 'none', name]]
    for name in ('norm_3x3', 'norm_3x3_d2', 'spatial_3x3', 'spatial_3x3_d2', 'se', 'se_avgmax', 'cbam')
}
GENOTYPES = {'autola': 'autola', **PAIRS, **{f'random {seed}': random_genotype(4, seed) for seed in range(4)}}


def cell_and_input(genotype='autola', channels=None, memory_format=torch.channels_last):
    torch.manual_seed(0)
    groups = Genotype.from_config(genotype).num_groups
    channels = channels or 4 * groups
    cell = randomize(HOGA(channels, genotype=genotype).double())
    return cell, torch.randn(2, channels, 7, 6, dtype=torch.float64).to(memory_format=memory_format)


def one_by_one(cell, x):
    return GroupAttention.attended(cell, x)


def is_joint(cell, x, monkeypatch):
    called = []
    monkeypatch.setattr(cell, '_joint_forward', lambda *args: called.append(args) or x)
    monkeypatch.setattr(joint.JointForm, 'update', lambda *args: None)
    cell(x)
    return bool(called)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('genotype', GENOTYPES.values(), ids=GENOTYPES)
def test_values_gradients_and_statistics(genotype, training, memory_format):
    cell, x = cell_and_input(genotype, memory_format=memory_format)
    cell.train(training)
    plain = copy.deepcopy(cell)
    probe = torch.randn_like(x)
    results = []
    for model, forward in ((cell, cell), (plain, lambda x: one_by_one(plain, x))):
        inputs = x.clone().requires_grad_()
        y = forward(inputs)
        (y * probe).sum().backward()
        # An edge into a node without readers gets no gradient in one form and zeros in the other.
        gradients = {name: 0 if p.grad is None else p.grad for name, p in model.named_parameters()}
        results.append((y, inputs.grad, gradients, model.state_dict()))
    (y, grad, gradients, state), (expected_y, expected_grad, expected_gradients, expected_state) = results
    torch.testing.assert_close(y, expected_y, rtol=1e-10, atol=1e-10)
    assert y.stride() == expected_y.stride()
    torch.testing.assert_close(grad, expected_grad, rtol=1e-8, atol=1e-9)
    for name, gradient in gradients.items():
        expected = torch.as_tensor(expected_gradients[name], dtype=x.dtype).expand_as(state[name])
        torch.testing.assert_close(torch.as_tensor(gradient).expand_as(expected), expected, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(state, expected_state, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(cell.eval()(x), one_by_one(plain.eval(), x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_the_identity_start(memory_format, monkeypatch):
    cell = HOGA(16, start='identity').eval()
    x = torch.randn(2, 16, 7, 6).to(memory_format=memory_format)
    with torch.no_grad():
        assert torch.equal(cell(x), x)
        randomize(cell)
        torch.testing.assert_close(cell(x), one_by_one(cell, x))
        torch.testing.assert_close(copy.deepcopy(cell).fuse()(x), one_by_one(cell, x))
    assert is_joint(cell, x, monkeypatch)


def test_edges_run_together_as_soon_as_their_inputs_are_ready():
    """Levels by hand: U_0 waits for se, U_1 = F_1 for nothing, U_2 for U_0."""
    genotype = Genotype([['se'], ['none', 'skip_connect'], ['cbam', 'se', 'se']])
    assert schedule(genotype) == ((('se', ((0, 0), (1, 2), (2, 2))),), (('cbam', ((0, 2),)),))


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))])
def test_copies_have_weights_of_their_own(duplicate):
    cell, x = cell_and_input()
    other = duplicate(cell.eval())
    expected = cell(x)
    randomize(cell)
    torch.testing.assert_close(other(x), expected)
    assert not torch.allclose(cell(x), expected)


def test_weights_are_read_in_every_pass():
    cell, x = cell_and_input()
    other = HOGA(16).double().eval()
    with torch.no_grad():
        other(x), cell.eval()(x)
        for target, source in zip(other.state_dict().values(), cell.state_dict().values()):
            target.data.copy_(source)  # changes no version counter
        torch.testing.assert_close(other(x), cell(x))


def test_hooks_within_a_cell_are_called():
    cell, x = cell_and_input()
    seen = []
    handle = cell.edges['o_0_1'].convs[0].register_forward_hook(lambda *args: seen.append(args))
    expected = cell.eval()(x)
    handle.remove()
    torch.testing.assert_close(cell(x), expected)
    assert len(seen) == 1


def test_a_replaced_module_is_used(monkeypatch):
    cell, x = cell_and_input()
    assert is_joint(cell, x, monkeypatch)
    monkeypatch.undo()
    cell.edges['o_0_1'].convs[1] = nn.Conv2d(4, 4, 1, bias=False).double()
    replaced = copy.deepcopy(cell)
    torch.testing.assert_close(cell(x), one_by_one(replaced, x))


@pytest.mark.parametrize(
    'change',
    [
        lambda cell: nn.SyncBatchNorm.convert_sync_batchnorm(cell),
        lambda cell: cell.edges['o_0_1'].convs[2].eval(),
        lambda cell: setattr(cell.phi[1], 'momentum', None),
        lambda cell: nn.utils.parametrizations.weight_norm(cell.edges['o_0_1'].convs[0]),
    ],
    ids=['SyncBatchNorm', 'one norm in eval mode', 'cumulative average', 'weight_norm'],
)
def test_other_layers_run_one_by_one(change, monkeypatch):
    cell, x = cell_and_input()
    change(cell)
    monkeypatch.setattr(GroupAttention, 'attended', lambda self, x: x)
    assert not is_joint(cell, x, monkeypatch)


def test_norms_in_eval_mode_train_the_weights():
    """``norm_eval=True`` of a detector: the running statistics stay, the weights get gradients."""
    cell, x = cell_and_input()
    cell.train()
    for module in cell.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    before = copy.deepcopy(dict(cell.named_buffers()))
    cell(x).square().sum().backward()
    torch.testing.assert_close(dict(cell.named_buffers()), before)
    assert all(parameter.grad.isfinite().all() for parameter in cell.parameters())


@pytest.mark.parametrize('training', [True, False])
def test_autocast(training):
    cell, x = cell_and_input()
    cell, x = cell.float().train(training), x.float()
    expected = cell(x)
    with torch.autocast('cpu', torch.bfloat16):
        y = cell(x)
        y.float().sum().backward()
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.3)
    assert all(parameter.grad.dtype == torch.float32 for parameter in cell.parameters())


def test_an_empty_batch():
    cell, x = cell_and_input()
    assert cell.eval()(x[:0]).shape == x[:0].shape


def test_the_mean_of_a_large_map_in_half_precision():
    """The sum of this map is beyond the largest number in half precision, 65504."""
    x = torch.full((1, 1, 400, 400), 3.0, dtype=torch.half)
    assert pixel_mean(x).item() == 3
    cell = randomize(HOGA(8, genotype=[['se'], ['cbam', 'se_avgmax']])).half().eval()
    assert cell(torch.rand(1, 8, 256, 256).half() * 4).isfinite().all()


def test_a_cell_runs_on_a_device_without_autocast():
    cell = HOGA(8).to('meta').eval()
    with torch.no_grad():
        assert cell(torch.empty(2, 8, 5, 5, device='meta')).shape == (2, 8, 5, 5)
