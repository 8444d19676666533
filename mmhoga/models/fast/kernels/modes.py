"""How operators are run: recorded by a compiler, by an export, within a transform, or one after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active
from torch.autograd import forward_ad

# Missing before torch 2.1.
_is_compiling = getattr(getattr(torch, 'compiler', None), 'is_compiling', lambda: False)
_is_dynamo_compiling = getattr(getattr(torch, 'compiler', None), 'is_dynamo_compiling', lambda: False)
# Missing before torch 2.6.
_is_exporting = getattr(getattr(torch, 'compiler', None), 'is_exporting', lambda: False)


def fusible() -> bool:
    """Whether ``torch.compile`` records operators. An export keeps convolutions as they are."""
    return _is_dynamo_compiling() and not _is_exporting()


def traced() -> bool:
    """Whether operators are recorded, by ``torch.jit.trace``, ``torch.compile`` or ``torch.export``, and not run."""
    return torch.jit.is_tracing() or _is_compiling()


def transformed() -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is active.

    They need plain operators: the autograd functions here have neither ``vmap`` nor ``jvp``.
    """
    return not _is_compiling() and (_are_functorch_transforms_active() or forward_ad._current_level >= 0)


def is_channels_last(x: Tensor) -> bool:
    """False within ``torch.func``, where ``vmap`` cannot tell."""
    return not transformed() and x.is_contiguous(memory_format=torch.channels_last)
