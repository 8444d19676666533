"""When kernels run, and what they do when a backward pass is differentiated."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

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
