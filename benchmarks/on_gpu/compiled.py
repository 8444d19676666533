"""``torch.compile``: the networks and the search step, against their eager forms, with the seconds of compiling.

The cells of HOGA are compiled one by one, so that cells of one shape share their code, and also the whole network. The
output must equal that of the eager form. What compiles longest comes last.
"""

from __future__ import annotations

import copy
import time
from functools import partial

import torch
from on_gpu.measure import Run, seconds, times, work
from on_gpu.networks import NETWORKS, images, inference, network, training
from on_gpu.results import Results
from on_gpu.search_step import both_steps
from search_step import Classifier, alpha_step, weight_step
from torch import nn

from mmhoga.models import HOGA
from mmhoga.search import SearchModel


def measure(results: Results) -> None:
    x = images(2 if results.toy else 32, results)
    for task, run in (('inference', inference), ('training', training)):
        compare(results, 'HOGA, cells', task, run, cells_compiled, x)
    if not results.toy:
        for task, run in (('inference', inference), ('training', training)):
            compare(results, 'plain', task, run, whole, x)
        graphs = partial(cells_compiled, mode='reduce-overhead')
        compare(results, 'HOGA, cells', 'inference', inference, graphs, x, 'graphs')
    search_steps(results)
    if not results.toy:
        compare(results, 'plain', 'inference', inference, partial(whole, mode='reduce-overhead'), x, 'graphs')
        for task, run in (('inference', inference), ('training', training)):
            compare(results, 'HOGA, whole', task, run, whole, x)


def whole(model: nn.Module, **options: str) -> nn.Module:
    model.forward = torch.compile(model.forward, dynamic=False, **options)
    return model


def cells_compiled(model: nn.Module, **options: str) -> nn.Module:
    for module in model.modules():
        if isinstance(module, HOGA):
            module.compile(dynamic=False, **options)
    return model


def compare(results: Results, name: str, task: str, run, compiler, x: torch.Tensor, extra: str = '') -> None:
    labels = dict(task=f'{task}, batch {len(x)}', form=', '.join(filter(None, (name, extra))))
    with results.attempt(**labels):
        torch._dynamo.reset()
        eager = network(NETWORKS[name.partition(',')[0]], results, stages=1 if results.toy else 4).train(
            run is training
        )
        compiled = compiler(copy.deepcopy(eager))
        expected = run(eager, x)
        start = time.monotonic()
        actual = run(compiled, x)
        float(actual.float().sum())
        results.row(**labels, first_call_s=round(time.monotonic() - start, 1), error=relative(actual, expected))
        sides = {'eager': partial(run, eager, x), 'compiled': partial(run, compiled, x)}
        _rows(results, labels, sides, count=extra != 'graphs')


def search_steps(results: Results) -> None:
    """The search step with compiled cells; the supernet is compiled for training only."""
    torch.manual_seed(0)
    depth, width, size, count = (8, 8, 8, 4) if results.toy else (20, 16, 32, 128)
    labels = dict(task=f'search step, batch {count}', form='ours')
    with results.attempt(**labels):
        torch._dynamo.reset()
        eager = SearchModel(Classifier(depth, width, 1 if results.toy else 4)).to(results.device)
        compiled = copy.deepcopy(eager)
        for cell in compiled.cells():
            cell.compile()
        batch = (torch.randn(count, 3, size, size).to(results.device), torch.randint(10, (count,)).to(results.device))
        sides: dict[str, Run] = {}
        for side, net in (('eager', eager), ('compiled', compiled)):
            sides[side] = both_steps(weight_step(net, batch), alpha_step(net, batch), results.device)
        expected = sides['eager']()
        start = time.monotonic()
        actual = sides['compiled']()
        results.row(**labels, first_call_s=round(time.monotonic() - start, 1), error=relative(actual, expected))
        _rows(results, labels, sides)


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def _rows(results: Results, labels: dict[str, str], sides: dict[str, Run], *, count: bool = True) -> None:
    taken = seconds(sides, results.device, rounds=1 if results.toy else 9, inner=1 if results.toy else 3)
    for side, run in sides.items():
        cells = work(run, results.device) if side == 'eager' or (count and results.on_gpu) else {}
        results.row(**labels, side=side, **times(taken[side], taken['eager']), **cells)
