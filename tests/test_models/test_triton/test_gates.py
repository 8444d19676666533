"""Sums of gated inputs and channel attention in Triton equal the plain forms; run by Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip('triton', reason='kernels in Triton need Triton')
if os.environ.get('TRITON_INTERPRET') != '1':
    pytest.skip('needs TRITON_INTERPRET=1 from the start; test_interpreter.py runs it so', allow_module_level=True)

from triton_forms import FORMATS, agree, leaf

from mmhoga.models.fast.kernels import mlps
from mmhoga.models.fast.kernels.gates import Message
from mmhoga.models.fast.kernels.mlps import Mlp
from mmhoga.models.fast.triton import attention, gates


def messages_of(kinds, channels, memory, dtype=torch.float32, size=(5, 7)):
    """Leaves, and a function that makes messages on slices of them, as a cell does."""
    count = len(kinds)
    x = leaf(2, count * channels, *size, memory=memory, dtype=dtype)
    full = leaf(2, count * channels, *size, memory=memory, dtype=dtype)
    pixel = leaf(2, count, *size, memory=memory, dtype=dtype)
    channel = leaf(2, count, channels, dtype=dtype)

    def messages(x, full, pixel, channel):
        parts = zip(x.chunk(count, 1), full.chunk(count, 1), pixel.chunk(count, 1), channel.unbind(1))
        made = {
            'skip': lambda x, full, pixel, channel: Message(x),
            'channel': lambda x, full, pixel, channel: Message(x, channel[..., None, None]),
            'pixel': lambda x, full, pixel, channel: Message(x, pixel),
            'full': lambda x, full, pixel, channel: Message(x, full),
            'both': lambda x, full, pixel, channel: Message(x, pixel, channel[..., None, None]),
        }
        return [made[kind](*tensors) for kind, tensors in zip(kinds, parts)]

    return (x, full, pixel, channel), messages


def plain_sum(messages):
    total = 0
    for x, *logits in messages:
        for gate in logits:
            x = x if gate is None else x * gate.sigmoid()
        total = total + x
    return total


def kernel_sum(messages):
    return gates.gated_sum(messages, messages[0].x)[0]


SUMS = [
    ['channel'],
    ['skip', 'skip'],
    ['skip', 'channel', 'pixel', 'full'],
    ['both', 'full', 'skip', 'both'],
    ['channel', 'both', 'channel', 'pixel', 'full', 'skip', 'pixel', 'both'],
]


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('kinds', SUMS, ids=['-'.join(kinds) for kinds in SUMS])
@pytest.mark.parametrize('channels', [1, 3, 8])
def test_gated_sum(kinds, channels, memory):
    inputs, messages = messages_of(kinds, channels, memory)
    agree(lambda *t: kernel_sum(messages(*t)), lambda *t: plain_sum(messages(*t)), inputs, second=channels == 3)


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize('size', [(1, 1), (1, 5), (6, 1), (20, 30)])
def test_sizes_of_maps(size, memory):
    inputs, messages = messages_of(['skip', 'channel', 'pixel', 'both'], 6, memory, size=size)
    agree(lambda *t: kernel_sum(messages(*t)), lambda *t: plain_sum(messages(*t)), inputs, 1e-4, second=False)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    """Computed in single precision and rounded once; the plain form rounds after each operator."""
    inputs, messages = messages_of(['skip', 'channel', 'pixel', 'full'], 8, torch.channels_last, dtype)
    y = kernel_sum(messages(*inputs))
    assert y.dtype == dtype
    exact = plain_sum(messages(*(tensor.float() for tensor in inputs)))
    torch.testing.assert_close(y, exact.to(dtype), rtol=0, atol=torch.finfo(dtype).eps * 4)
    tolerance = 8 * torch.finfo(dtype).eps
    agree(lambda *t: kernel_sum(messages(*t)), lambda *t: plain_sum(messages(*t)), inputs, tolerance, second=False)


def test_gates_of_another_type():
    """As under autocast: maps in single precision, logits of convolutions in half precision."""
    x, logits = leaf(2, 4, 3, 3), leaf(2, 4, 3, 3, dtype=torch.bfloat16)
    y = kernel_sum([Message(x, logits), Message(logits)])
    assert y.dtype == torch.float32
    dx, dlogits = torch.autograd.grad(y.sum(), (x, logits))
    assert (dx.dtype, dlogits.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
def test_the_sum_is_written_where_it_belongs(memory):
    inputs, messages = messages_of(['skip', 'both', 'full', 'channel', 'pixel'], 4, memory)
    joined = torch.zeros(2, 12, 5, 7).to(memory_format=memory)
    with torch.no_grad():
        made = messages(*inputs)
        gates.gated_sum(made, made[0].x, joined[:, 4:8])
        torch.testing.assert_close(joined[:, 4:8], plain_sum(made))
        gates.gated_sum(made[:1], made[0].x, joined[:, :4])
        gates.gated_sum([], made[0].x, joined[:, 8:])
    assert torch.equal(joined[:, :4], made[0].x)
    assert not joined[:, 8:].any()


def mlp(channels, hidden, biases):
    return (
        leaf(1, hidden, channels),
        leaf(1, 1, hidden) if biases else None,
        leaf(1, channels, hidden),
        leaf(1, 1, channels) if biases else None,
    )


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(('channels', 'factor', 'biases'), [(3, 1, True), (70, 2, False)])
def test_attend(channels, factor, biases, memory):
    weights = mlp(channels, 2, biases)
    present = [weight for weight in weights if weight is not None]

    def run(attend):
        def forward(x, *present):
            rest = iter(present)
            return attend(x, Mlp(*(None if weight is None else next(rest) for weight in weights)), factor)

        return forward

    x = leaf(2, channels, 9, 6, memory=memory)
    kernel = run(attention.attend)
    agree(kernel, run(mlps.attend), (x, *present), 1e-4)
    assert kernel(x, *present).stride() == x.stride()
    kernel(x.detach(), *present).sum().backward()  # x without a gradient


@pytest.mark.parametrize('memory', FORMATS.values(), ids=FORMATS)
def test_attend_with_a_shift(memory):
    x, shift, weights = leaf(2, 6, 4, 5, memory=memory), leaf(6), Mlp(*mlp(6, 2, True))
    out = torch.empty(2, 9, 4, 5).to(memory_format=memory)[:, 3:]
    with torch.no_grad():
        expected = mlps.attend(x, weights, 2, shift)
        torch.testing.assert_close(attention.attend(x, weights, 2, shift), expected)
        attention.attend(x, weights, 2, shift, out)
    torch.testing.assert_close(out, expected)


COMPILE = r"""
import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mmhoga.models.fast.triton.attention import logits_kernel, scale_kernel
from mmhoga.models.fast.triton.gate_kernels import gradient_kernel, sum_kernel
from mmhoga.models.fast.triton.groups import group_kernel
from mmhoga.models.fast.triton.mlps import forward_kernel, input_gradient_kernel, weight_gradient_kernel
from mmhoga.models.fast.triton.narrow_gradients import gradient_kernel as narrow_gradient_kernel, reduce_kernel
from mmhoga.models.fast.triton.narrow_kernels import convolve_kernel, norm_kernel
from mmhoga.models.fast.triton.pools import (
    channel_gradient_kernel, channel_pool_kernel, pixel_gradient_kernel, pixel_pool_kernel
)

NUMBERS = ('width', 'out_width', 'grad_width', 'copy_width', 'channels', 'stride', 'parts', 'C', 'HW', 'H', 'N')
NUMBERS += ('x_width', 'inner', 'tap', 'W')
REALS = ('eps', 'eps1', 'momentum', 'momentum1')


def compile(kernel, capability, dtype, **constants):
    signature = {}
    for name in kernel.arg_names:
        number = name in NUMBERS or re.fullmatch(r'[cdg]?w\d+', name) is not None
        kind = 'i32' if number else 'fp32' if name in REALS else f'*{dtype}'
        signature[name] = 'constexpr' if name in constants else kind
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return len(triton.compile(source, target=GPUTarget('cuda', capability, 32)).asm['cubin'])


for capability, dtype, last in ((80, 'fp16', True), (90, 'bf16', False), (90, 'fp32', True)):
    for kernel, options in ((sum_kernel, dict(COPY=last, POOL=last)), (gradient_kernel, dict(USES=6 if last else 1))):
        for kinds in ((1, 2, 3, 4), (4, 0, -1, -1)):
            kinds = dict(zip(('K0', 'K1', 'K2', 'K3'), kinds))
            assert compile(kernel, capability, dtype, LAST=last, BP=128, BC=16, **kinds, **options)
    places = {f'G{i}': group for i, group in enumerate([-2, 0, 1, 1, 3, *[-1] * 11])}
    assert compile(group_kernel, capability, dtype, LAST=last, BP=128, BC=16, **places)
    for added in (0, 1, 2):
        assert compile(scale_kernel, capability, dtype, FACTOR=2, ADDED=added, LAST=last, BP=32, BC=64)
    assert compile(logits_kernel, capability, dtype, FACTOR=1, LAST=last, BP=32, BC=64)
    for kernel in (channel_pool_kernel, channel_gradient_kernel):
        assert compile(kernel, capability, dtype, STEP=16, GATED=last, LAST=last, BP=128, BC=16)
    for kernel in (pixel_pool_kernel, pixel_gradient_kernel):
        assert compile(kernel, capability, dtype, LAST=last, BP=128, BC=16)
    assert compile(input_gradient_kernel, capability, dtype, PARTS=last, P=2, BH=16, BC=64)
    for kernel, options in ((forward_kernel, dict(PARTS=last)), (weight_gradient_kernel, {})):
        assert compile(kernel, capability, dtype, SHARED=last, B1=last, B2=True, P=2, BH=16, BC=64, **options)
for capability, dtype, last in ((80, 'fp16', True), (90, 'fp32', False)):
    form = dict(FORM=1, SIZE=3, STEP=1, OUT=2, BP=256) if last else dict(FORM=2, SIZE=3, STEP=2, OUT=1, BP=256)
    options = dict(NORM=1 if last else 2, TRAINING=last, RELU=not last, BIAS=not last, LAST=last, OUT_LAST=last)
    assert compile(convolve_kernel, capability, dtype, **form, **options)
    assert compile(convolve_kernel, capability, dtype, **{**form, 'FORM': 0, 'SIZE': 7, 'OUT': 1}, **options)
    assert compile(norm_kernel, capability, dtype, FIRST=last, TRAINING=last, OUT=1, OUT_LAST=last, BP=256)
    assert compile(reduce_kernel, capability, dtype, OUT=1, LAST=last, BP=256)
    options = dict(NORM=last, TRAINING=last, GRAD_LAST=last, LAST=last)
    assert compile(narrow_gradient_kernel, capability, dtype, **form, **options)
"""


def test_the_kernels_compile_for_gpus():
    environment = {key: value for key, value in os.environ.items() if key != 'TRITON_INTERPRET'}
    result = subprocess.run(
        [sys.executable, '-c', COMPILE], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
