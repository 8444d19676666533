"""Cells on the GPU against float64 on the CPU: outputs and gradients, in each precision, memory format and form.

A number is the relative error in the Euclidean norm: of the output / of the gradients by the input and all weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle

import torch
from on_gpu.measure import Graphed
from on_gpu.results import Results
from torch import Tensor, nn

from mmhoga.genotype import PRIMITIVES
from mmhoga.models import HOGA, SearchableHOGA

#: Form -> autocast, memory format, and the largest error allowed: of the output, of the gradients.
FORMS = {
    'fp32': (None, torch.contiguous_format, 1e-4, 5e-3),
    'TF32': (None, torch.contiguous_format, 1e-2, 0.15),
    'bf16': (torch.bfloat16, torch.contiguous_format, 0.06, 0.5),
    'fp16': (torch.float16, torch.contiguous_format, 0.01, 0.15),
    'fp32 NHWC': (None, torch.channels_last, 1e-4, 5e-3),
    'bf16 NHWC': (torch.bfloat16, torch.channels_last, 0.06, 0.5),
    'fp32 graph': (None, torch.contiguous_format, 1e-4, 5e-3),
    'bf16 graph': (torch.bfloat16, torch.channels_last, 0.06, 0.5),
}
ON_CPU = ('fp32', 'bf16', 'fp32 NHWC')


def measure(results: Results) -> None:
    measure_cells(results, cells(16 if results.toy else 64))


def measure_cells(results: Results, cells: Iterable[tuple[str, Callable[[], nn.Module]]]) -> None:
    """A row for each cell, which counts as an error if a number is above its limit."""
    for name, build in cells:
        with results.attempt(cell=name):
            torch.manual_seed(0)
            cell = build()
            x = torch.randn(2, 16, 6, 6) if results.toy else torch.randn(4, 64, 14, 14)
            row, bad = compare(cell, x, results.device)
            results.row(cell=name, **row, within_limits='no: ' + ', '.join(bad) if bad else 'yes')
            results.errors += bool(bad)


def cells(channels: int) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Derived cells of each operation, of each K, and supernets of each K."""
    for primitive in PRIMITIVES:
        rows = [[primitive] * (k + 1) for k in range(4)]
        yield f'every edge {primitive}', lambda rows=rows: HOGA(channels, genotype=rows)
    yield 'autola', lambda: HOGA(channels, genotype='autola')
    for groups in (1, 2, 4, 8):
        names = cycle(PRIMITIVES[1:])
        rows = [[next(names) for _ in range(k + 1)] for k in range(groups)]
        yield f'K = {groups}', lambda rows=rows: HOGA(channels, genotype=rows)
        yield f'supernet, K = {groups}', lambda groups=groups: SearchableHOGA(channels, num_groups=groups)


def compare(cell: nn.Module, x: Tensor, device: torch.device) -> tuple[dict[str, str], list[str]]:
    """The errors of each form, and the forms with an error above the limit. Errors that are NaN are above it."""
    weight = torch.randn_like(x)
    expected = _results(copy.deepcopy(cell).double(), x.double(), weight.double())
    row, bad = {}, []
    for form, (dtype, memory, *limits) in FORMS.items():
        if device.type == 'cpu' and form not in ON_CPU:
            continue
        _allow_tf32(form == 'TF32')
        on_device = copy.deepcopy(cell).to(device, memory_format=memory)
        y, slopes = _run(on_device, x.to(device), weight.to(device), dtype, memory, graph='graph' in form)
        errors = [_error(actual, wanted) for actual, wanted in zip((y, slopes), expected)]
        row[form] = f'{errors[0]:.1e} / {errors[1]:.1e}'
        if not all(error <= limit for error, limit in zip(errors, limits)):
            bad.append(form)
    return row, bad


def _run(
    cell: nn.Module, x: Tensor, weight: Tensor, dtype: torch.dtype | None, memory: torch.memory_format, *, graph: bool
) -> tuple[Tensor, Tensor]:
    x, weight = (tensor.contiguous(memory_format=memory) for tensor in (x, weight))
    inputs = torch.randn_like(x) if graph else x

    def run() -> tuple[Tensor, Tensor]:
        return _results(cell, inputs, weight, dtype)

    if graph:
        run = Graphed(run)
        inputs.copy_(x)  # so that a graph which does not read its input fails
    return run()


def _results(cell: nn.Module, x: Tensor, weight: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """The output, and all gradients in one vector."""
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        y = cell(x)
    inputs = [x, *cell.parameters()]
    slopes = torch.autograd.grad(y, inputs, weight.to(y.dtype), allow_unused=True)
    parts = [torch.zeros_like(p) if slope is None else slope for p, slope in zip(inputs, slopes)]
    return y.detach(), torch.cat([part.reshape(-1) for part in parts])


def _error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.cpu().double() - expected).norm() / expected.norm().clamp_min(1e-12))


def _allow_tf32(allowed: bool) -> None:
    torch.set_float32_matmul_precision('high' if allowed else 'highest')
    torch.backends.cudnn.allow_tf32 = allowed
