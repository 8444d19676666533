"""Time, launches, memory and captured graphs of a function without arguments, on a GPU or a CPU."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from side_by_side import alternate, calls
from torch.autograd import DeviceType

Run = Callable[[], Any]

# The calls by which a host starts work on a GPU. A captured graph is one.
LAUNCHES = ('cudaLaunchKernel', 'cudaLaunchCooperativeKernel', 'cuLaunchKernel', 'cudaGraphLaunch')


def seconds(sides: Mapping[str, Run], device: torch.device, *, rounds: int, inner: int = 1) -> dict[str, list[float]]:
    """Seconds per call of each side, which take turns.

    On a GPU they are read from its own clock: from the first launch to the end of the last kernel of ``inner`` calls.
    """
    if device.type != 'cuda':
        return alternate(sides, rounds)
    for run in sides.values():
        for _ in range(3):
            run()
    result: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            for _ in range(inner):
                run()
            end.record()
            end.synchronize()
            result[name].append(start.elapsed_time(end) / 1e3 / inner)
    return result


def times(values: list[float], base: list[float]) -> dict[str, Any]:
    """Cells of a row: the median, the quartiles, and the median ratio to another side in the same round."""
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else values * 3
    ratio = statistics.median(a / b for a, b in zip(values, base))
    return {'ms': round(1e3 * middle, 3), 'quartiles': f'{1e3 * low:.3g} to {1e3 * high:.3g}', 'ratio': round(ratio, 3)}


def work(run: Run, device: torch.device) -> dict[str, Any]:
    """Cells of a row: launches, kernels and peak memory on a GPU, operator calls on a CPU."""
    if device.type != 'cuda':
        return {'calls': calls(run)}
    if isinstance(run, Graphed):  # the kernels of the eager form, and memory of its own from the capture on
        return {'launches': 1}
    run()
    memory = {'peak_GB': round(peak_gigabytes(run), 3)}
    try:
        return {**launches(run), **memory}
    except Exception as error:  # the times are worth a row without it
        return {'launches': f'not counted: {error}'[:80], **memory}


def launches(run: Run) -> dict[str, int]:
    """The calls of the host that start work, and the kernels that run, without copies."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    counts = {'launches': 0, 'kernels': 0}
    for event in profile.profiler.kineto_results.events():  # profile.events() takes seconds for 50,000 of them
        if event.device_type() == DeviceType.CPU:
            counts['launches'] += event.name().startswith(LAUNCHES)
        elif event.device_type() == DeviceType.CUDA:
            counts['kernels'] += not event.name().startswith(('Memcpy', 'Memset', 'Optimizer.', '## '))
    return counts


def peak_gigabytes(run: Run) -> float:
    """The most memory that a call allocates on the GPU, beyond what is allocated before it."""
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


class Graphed:
    """A function captured as a CUDA graph: a call runs all its kernels with one launch.

    The function must read its inputs from the same tensors in each call, read no value on the host, and leave nothing
    but tensors changed. Its results, and gradients that it computes, are overwritten by the next call.
    """

    def __init__(self, run: Run) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate their workspaces in the first calls
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = run()

    def __call__(self) -> Any:
        self.graph.replay()
        return self.result
