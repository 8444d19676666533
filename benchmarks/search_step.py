"""One first-order search step, weights and alpha: the library's supernet against the textbook form.

    python benchmarks/search_step.py --threads 2

The textbook form (benchmarks/textbook_modules.py) has a module for each candidate on each edge and calls ``backward()`` in
both steps, as the released code does. Both sides start from the same parameters and run alternately. Beside the clock:
the bytes that autograd saves for the backward pass (unique storages), and the operator calls that launch work (what
reaches the dispatcher below autograd, without views and allocations).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from textbook_modules import textbook
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmhoga.backbones import CIFARResNet
from mmhoga.search import SearchModel
from mmengine.model import BaseModel

# Operators that launch nothing: they allocate, or return another view.
FREE = {'aten.empty', 'aten.empty_like', 'aten.new_empty', 'aten.empty_strided', 'aten.new_empty_strided', 'aten._unsafe_view', 'aten.detach'}


class Classifier(BaseModel):
    """A CIFAR ResNet with a supernet in each block."""

    def __init__(self, depth: int, width: int, num_groups: int) -> None:
        super().__init__()
        plugin = dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=num_groups), position='after_conv2')
        self.backbone = CIFARResNet(depth, base_channels=width, plugins=[plugin])
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.fc(self.backbone(inputs)[0].mean((2, 3))), labels)


class Calls(TorchDispatchMode):
    """Counts operator calls that launch work, inside the context."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        view = any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)
        if not view and str(func).rpartition('.')[0] not in FREE:
            self.count += 1
        return func(*args, **(kwargs or {}))


def textbook_step(model: nn.Module, alpha: Tensor, batch: tuple[Tensor, Tensor]) -> Callable[[], Tensor]:
    def alpha_step() -> Tensor:
        loss = model(*batch)
        loss.backward()
        return loss

    return alpha_step


def saved_bytes(forward: Callable[[], Tensor], parameters: list[Tensor]) -> int:
    """Of the storages that one forward pass keeps for the backward pass, parameters apart."""
    storages: dict[int, int] = {}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    total = sum(size for pointer, size in storages.items() if pointer not in own)
    del loss, kept
    return total
