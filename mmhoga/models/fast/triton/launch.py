"""When kernels run, how they read feature maps, and what they do when a backward pass is differentiated."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from mmhoga.models.fast.kernels.modes import traced, transformed

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def usable(x: Tensor) -> bool:
    """Whether kernels can run on a tensor.

    It must be on a GPU, or Triton's interpreter be on (``TRITON_INTERPRET=1``), and have at most 32 bits per number.
    Compilers and transforms of ``torch.func`` get plain operators.
    """
    return (
        (x.is_cuda or interpreted())
        and x.dtype in _DTYPES
        and x.numel() > 0
        and not traced()
        and not transformed()
        and installed()
    )


def interpreted() -> bool:
    """Whether kernels run on a CPU, one operation after the other, to be tested."""
    return os.environ.get('TRITON_INTERPRET') == '1'


@cache
def installed() -> bool:
    return find_spec('triton') is not None


class Maps(NamedTuple):
    """A tensor ``(N, C, H, W)`` for a kernel, which reads element (n, c, p) at ``n batch + c channel + p pixel``."""

    tensor: Tensor
    batch: int
    channel: int
    pixel: int


def maps(x: Tensor) -> Maps:
    """The strides of ``(N, C, H, W)``, with H and W as one dimension; a copy where they cannot be one."""
    if x.size(2) > 1 and x.stride(2) != x.size(3) * x.stride(3):
        x = x.contiguous()
    return Maps(x, x.stride(0), x.stride(1), x.stride(3) if x.size(3) > 1 else x.stride(2))


def gradients(
    plain: Callable[..., Tensor], inputs: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """The gradients of plain operators, for a backward pass that is itself differentiated.

    An input may have been computed from another one. Views of them keep the gradient from taking that way.
    """
    inputs = [None if x is None else x.view_as(x) for x in inputs]
    wanted = [x for x, need in zip(inputs, needed) if need and x is not None]
    found = iter(torch.autograd.grad(plain(*inputs), wanted, grad, create_graph=True))
    return [next(found) if need and x is not None else None for x, need in zip(inputs, needed)]
