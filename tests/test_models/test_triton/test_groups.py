"""Several uses of one tensor, and the joined parts of a cell, equal the plain forms; run by Triton's interpreter."""

import os

import pytest
import torch

pytest.importorskip('triton', reason='kernels in Triton need Triton')
if os.environ.get('TRITON_INTERPRET') != '1':
    pytest.skip('needs TRITON_INTERPRET=1 from the start; test_interpreter.py runs it so', allow_module_level=True)

from triton_forms import FORMATS, agree, leaf

from mmhoga.models.fast.choice import PLAIN
from mmhoga.models.fast.kernels import mlps as plain_mlps
from mmhoga.models.fast.kernels.gates import Message
from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.fast.triton import attention, gates, groups, mlps


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('uses', [(2, 1), (0, 9, 1, 12)], ids=str)
@pytest.mark.parametrize('whole', [True, False], ids=['whole', 'groups'])
def test_groups(uses, whole, memory):
    """(0, 9, 1, 12) is more than one launch takes, and has a group without gradient."""
    x = leaf(2, 3 * len(uses), 5, 7, memory=memory)

    def run(split):
        def of(x):
            same, parts = split(x, uses)
            total = same.sin().sum() if whole else 0
            for k, own in enumerate(parts):
                assert len(own) == uses[k]
                for i, part in enumerate(own):
                    total = total + ((i + 1) * part).sin().sum() * (k + 1)
            return total

        return of

    agree(run(groups.split), run(PLAIN.split), (x,), 1e-4)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_groups_in_half_precision(dtype):
    x = leaf(2, 6, 5, 7, dtype=dtype)
    whole, parts = groups.split(x, (2, 3))
    probes = [torch.randn_like(part) for own in parts for part in own]
    used = [part for own in parts for part in own]
    grad = torch.autograd.grad([whole, *used], x, [torch.ones_like(x), *probes])[0]
    expected = 1 + torch.cat([sum(p.float() for p in probes[:2]), sum(p.float() for p in probes[2:])], 1)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad.float(), expected, rtol=torch.finfo(dtype).eps, atol=0)


def test_a_group_without_uses_and_no_gradients():
    x = leaf(1, 4, 2, 2)
    _, (first, second) = groups.split(x, (1, 0))
    assert second == []
    assert torch.autograd.grad(first[0].sum(), x)[0][0, :, 0, 0].tolist() == [1, 1, 0, 0]
    with torch.no_grad():
        whole, parts = groups.split(x, (1, 2))
    assert whole is x
    assert [len(own) for own in parts] == [1, 2]


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('kinds', ['g', 's', 'gs', 'sgg', 'gggg', 'gsgsgs'])
@pytest.mark.parametrize('uses', [2, 8])
def test_uses_of_a_sum(uses, kinds, memory):
    """Their gradients are added in the launch for those of the messages; more than 6 in another one before."""
    x = leaf(2, 3 * len(kinds), 5, 4, memory=memory)
    logits = leaf(2, 3 * len(kinds), 5, 4, memory=memory)

    def run(gated_sum, gate):
        def of(x, logits):
            pairs = zip(kinds, x.chunk(len(kinds), 1), logits.chunk(len(kinds), 1))
            messages = [Message(part, gate(own) if kind == 'g' else None) for kind, part, own in pairs]
            totals = gated_sum(messages, messages[0].x, None, uses)
            assert len(totals) == uses
            return sum(((i + 1) * total).sin() for i, total in enumerate(totals[1:]))  # one has no gradient

        return of

    kernel = run(gates.gated_sum, lambda logits: logits)
    agree(kernel, run(PLAIN.gated_sum, torch.sigmoid), (x, logits), 1e-4, second=uses == 2)


def test_a_sum_without_gradients_for_its_uses():
    x, unused = leaf(1, 2, 3, 3), leaf(1, 2, 3, 3)
    total = gates.gated_sum([Message(x), Message(x)], x, None, 2)
    gates.gated_sum([Message(unused, x)], x, None, 1)
    torch.testing.assert_close(torch.autograd.grad(total[0].sum(), x)[0], torch.full_like(x, 2))


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('size', [(1, 1), (5, 7)])
@pytest.mark.parametrize('count', [2, 4, 5])
@pytest.mark.parametrize('source', ['nodes', 'inputs'])
def test_join(count, source, size, memory):
    """The first and the last node are elsewhere and get copied; the others are in their place. 5 are too many for one
    launch."""
    channels = 3
    weights = (leaf(1, 2, channels), None, leaf(1, channels, 2), leaf(1, 1, channels))
    x = leaf(2, count * channels, *size, memory=memory)

    def parts_of(x):
        """Nodes that depend on x, and inputs, of which the first and the last are nodes."""
        inputs = list(x.split(channels, 1))
        return [inputs[0], *(part * 2 for part in inputs[1:-1]), inputs[-1]], inputs

    def plain(x, squeeze, excite, bias):
        nodes, inputs = parts_of(x)
        mlp = Mlp(squeeze, None, excite, bias)
        return torch.cat([*nodes, plain_mlps.attend(sum(nodes if source == 'nodes' else inputs), mlp)], 1)

    def kernel(x, squeeze, excite, bias):
        nodes, inputs = parts_of(x)
        joined = torch.full((2, (count + 1) * channels, *size), float('nan')).to(memory_format=memory)
        places = joined.split(channels, 1)
        for i in range(1, count - 1):
            nodes[i] = gates.gated_sum([Message(inputs[i]), Message(inputs[i])], x, places[i])[0]
        terms, whole = (nodes, joined) if source == 'nodes' else (inputs, x)
        y = attention.join(joined, nodes, terms, whole, Mlp(squeeze, None, excite, bias))
        assert y.stride() == joined.stride()
        return y

    inputs = (x, weights[0], weights[2], weights[3])
    agree(kernel, plain, inputs, 1e-4, second=count == 2)
    with torch.no_grad():
        torch.testing.assert_close(kernel(*inputs), plain(*inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('size', [(1, 1), (5, 7), (20, 9)])
@pytest.mark.parametrize('channels', [3, 70])
def test_attend_to_a_sum(channels, size, memory):
    weights = leaf(1, 2, channels), leaf(1, 1, 2), leaf(1, channels, 2), leaf(1, 1, channels)
    x, residual = (leaf(2, channels, *size, memory=memory) for _ in range(2))

    def run(module):
        return lambda x, residual, *weights: module.attend(x, Mlp(*weights), 2, residual=residual)

    agree(run(attention), run(plain_mlps), (x, residual, *weights), 1e-4, second=size == (5, 7))


def test_a_sum_of_two_types():
    """As under autocast: the wider type, and each gradient in its own."""
    x, residual = leaf(1, 4, 3, 3, dtype=torch.bfloat16), leaf(1, 4, 3, 3)
    y = attention.attend(x, Mlp(leaf(1, 2, 4), None, leaf(1, 4, 2), None), residual=residual)
    grads = torch.autograd.grad(y.sum(), (x, residual))
    assert [y.dtype, *(grad.dtype for grad in grads)] == [torch.float32, torch.bfloat16, torch.float32]


@pytest.mark.parametrize('parts', [1, 40, 600])
def test_logits_of_parts_of_a_mean(parts):
    """Up to 512 parts are added by the kernels."""
    pooled, weights = torch.randn(parts, 3, 2, 1, 70) / parts**0.5, (leaf(2, 3, 70), None, leaf(2, 70, 3), None)
    logits, hidden, means = mlps.run(pooled, weights)
    leaves = pooled.sum(0).requires_grad_()
    expected = plain_mlps.channel_logits(leaves, Mlp(*weights), 1)
    close = dict(rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((logits, means), (expected.detach(), leaves.detach()), **close)
    grad = torch.randn(parts, 3, 2, 70) / parts**0.5
    found = mlps.run_backward(grad, means, hidden, weights, True)
    wanted = torch.autograd.grad(expected, (leaves, weights[0], weights[2]), grad.sum(0))
    torch.testing.assert_close((found[0], found[1], found[3]), wanted, **close)
    assert mlps.run_backward(grad, means, hidden, weights, False)[1:] == [None] * 4
