"""Measure the sides of a comparison in turns within one run, and format the results as a table."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operators that only allocate memory.
ALLOCATE = ('aten.empty', 'aten.new_empty', 'aten.empty_like', 'aten._unsafe_view')


def alternate(
    sides: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call, after one round of warm-up. Within a round the sides take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, run in sides.items():
            start = clock()
            run()
            if round_:
                seconds[name].append(clock() - start)
    return seconds


def spread(seconds: Sequence[float]) -> str:
    """The median and the quartiles."""
    low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    return f'{1e3 * middle:.0f} ms [{1e3 * low:.0f}, {1e3 * high:.0f}]'


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median ratio of calls from the same round, which cancels load from other processes."""
    return statistics.median(a / b for a, b in zip(above, below))


class Calls(TorchDispatchMode):
    """Counts operator calls below autograd, without views and allocations, and launches of kernels in Triton.

    Launches are counted where Triton's interpreter is on (``TRITON_INTERPRET=1``), and not run, which would take long:
    what they compute has any values.

    Attributes:
        count: the number of calls.
        bytes: the total size of the tensors that they read and write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = self.bytes = 0
        self._launches = ExitStack()

    def __enter__(self) -> Calls:
        interpreter = sys.modules.get('triton.runtime.interpreter')
        if interpreter is not None:

            def counted(_: Any, *args: Any, **kwargs: Any) -> None:
                self._add(args, kwargs)

            self._launches.enter_context(mock.patch.object(interpreter.GridExecutor, '__call__', counted))
        return super().__enter__()

    def __exit__(self, *args: Any) -> Any:
        self._launches.close()
        return super().__exit__(*args)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_view = any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)
        result = func(*args, **(kwargs or {}))
        if not is_view and not str(func).startswith(ALLOCATE):
            read = {name: value for name, value in (kwargs or {}).items() if name != 'out'}  # out is the result
            self._add(args, read, result)
        return result

    def _add(self, *values: Any) -> None:
        self.count += 1
        tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def calls(run: Callable[[], Any]) -> int:
    with Calls() as counter:
        run()
    return counter.count


def kernels(run: Callable[[], Any]) -> int:
    """The number of kernels in the first call of something compiled: generated ones, and calls to libraries."""
    from torch._inductor.utils import run_and_get_code

    _, sources = run_and_get_code(run)
    bodies = [source[source.index('def call(') :] for source in sources]
    return sum(
        len(re.findall(r'^\s+(?:\w+ = )?(?:cpp_|triton_|extern_kernels\.|torch\.ops\.)', b, re.M)) for b in bodies
    )


def saved_bytes(forward: Callable[[], Any], model: torch.nn.Module) -> int:
    """The size of all storages that a forward pass saves for the backward pass, without parameters and buffers."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    total = sum(tensor.untyped_storage().nbytes() for pointer, tensor in kept.items() if pointer not in own)
    del result
    return total


def operators(label: str, sides: Mapping[str, Callable[[], Any]]) -> list[tuple[str, ...]]:
    """Rows for :func:`table`: milliseconds per call that each of two sides spends in each operator, by the profiler.

    Operators below 1 % of the time of the second side are added up.
    """
    old, new = (_profiled(run) for run in sides.values())
    rest = {name for name in old.keys() | new.keys() if new.get(name, 0) < sum(new.values()) / 100}
    names = {name: [name] for name in sorted(new.keys() - rest, key=lambda name: -new[name])}
    names |= {'below 1 % each': sorted(rest), 'all': sorted(old.keys() | new.keys())}
    rows = [(f'{label}, ms', *sides, 'difference')]
    for name, summed in names.items():
        a, b = (sum(side.get(each, 0) for each in summed) for side in (old, new))
        rows.append((name, f'{a:.1f}', f'{b:.1f}', f'{b - a:+.1f}'))
    return rows


def _profiled(run: Callable[[], Any], rounds: int = 4) -> dict[str, float]:
    run()
    with torch.profiler.profile() as profile:
        for _ in range(rounds):
            run()
    spent = {event.key: event.self_cpu_time_total / 1e3 / rounds for event in profile.key_averages()}
    result = {name: time for name, time in spent.items() if name.startswith('aten::')}
    return {**result, 'not in an operator': sum(spent.values()) - sum(result.values())}


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |' for row in rows]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    return '\n'.join(lines)
