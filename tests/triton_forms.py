"""Compares a function in Triton with its plain form, in :mod:`tests.test_models.test_triton`."""

import torch

FORMATS = {'NCHW': torch.contiguous_format, 'NHWC': torch.channels_last}


def leaf(*shape, memory=torch.contiguous_format, dtype=torch.float32):
    return torch.randn(shape).to(dtype=dtype, memory_format=memory).requires_grad_()


def agree(kernel, plain, inputs, tolerance=1e-5, second=True):
    """Compare values, gradients and, if wanted, second derivatives."""
    close = dict(rtol=tolerance, atol=tolerance)
    expected = plain(*inputs)
    torch.testing.assert_close(kernel(*inputs), expected, **close)
    probe = torch.randn_like(expected).requires_grad_()
    wanted = dict(allow_unused=True)
    firsts = [torch.autograd.grad(f(*inputs), inputs, probe, **wanted) for f in (kernel, plain)]
    torch.testing.assert_close(
        [g for g in firsts[0] if g is not None], [g for g in firsts[1] if g is not None], **close
    )
    assert [g is None for g in firsts[0]] == [g is None for g in firsts[1]]
    if second:
        sums = [
            sum(
                g.square().sum()
                for g in torch.autograd.grad(f(*inputs), inputs, probe, create_graph=True, **wanted)
                if g is not None
            )
            for f in (kernel, plain)
        ]
        seconds = [torch.autograd.grad(total, (*inputs, probe), allow_unused=True) for total in sums]
        for actual, reference in zip(*seconds):
            assert (actual is None) == (reference is None)
            if actual is not None:
                torch.testing.assert_close(actual, reference, rtol=1e-4, atol=1e-4)
