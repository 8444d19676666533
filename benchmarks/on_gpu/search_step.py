"""The two steps of a first-order search without optimizers: the textbook form and ours, eager and as CUDA graphs.

ResNet-20 of width 16, K = 4, 32 x 32, batch 128: the paper's search. Ratios are to the textbook form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from on_gpu.measure import Graphed, Run, seconds, times, work
from on_gpu.results import Results
from search_step import Classifier, alpha_step, weight_step
from textbook_modules import textbook
from torch import Tensor

from mmhoga.search import SearchModel


def measure(results: Results) -> None:
    forms = build(results)
    both: dict[str, Run] = {}
    for name, form in forms.items():
        with results.attempt(form=name):
            run = form()
            loss = run()
            results.row(form=name, loss=float(loss))  # equal in float32
            both[name] = run
    taken = seconds(both, results.device, rounds=1 if results.toy else 7)
    for name, run in both.items():
        with results.attempt(form=name):
            results.row(form=name, **times(taken[name], taken['textbook']), **work(run, results.device))
    if results.on_gpu:
        predict(results, taken)


def predict(results: Results, taken: dict[str, list[float]]) -> None:
    """The paper's search by each form: 100 epochs of 195 iterations, without optimizers and data."""
    for name, values in taken.items():
        results.row(form=name, minutes_for_the_whole_search=sorted(values)[len(values) // 2] * 100 * 195 / 60)


def build(results: Results) -> dict[str, Callable[[], Run]]:
    """Form -> a function that builds both of its steps as one function, which returns the loss."""
    torch.manual_seed(0)
    depth, width, size, count = (8, 8, 8, 4) if results.toy else (20, 16, 32, 128)
    model = SearchModel(Classifier(depth, width, 4))
    model.init_weights()
    with model.differentiating_alpha():
        old = textbook(model.architecture).to(results.device)
    model = model.to(results.device)
    batch = (torch.randn(count, 3, size, size).to(results.device), torch.randint(10, (count,)).to(results.device))

    def ours(*, dtype: torch.dtype | None = None, memory: torch.memory_format = torch.contiguous_format) -> Run:
        own = copy.deepcopy(model).to(memory_format=memory)
        x = batch[0].contiguous(memory_format=memory)
        return both_steps(weight_step(own, (x, batch[1])), alpha_step(own, (x, batch[1])), results.device, dtype)

    forms: dict[str, Callable[[], Run]] = {
        'textbook': lambda: both_steps(*[weight_step(old, batch)] * 2, results.device, None),
        'ours': ours,
        'ours, NHWC': lambda: ours(memory=torch.channels_last),
        'ours, bf16': lambda: ours(dtype=torch.bfloat16),
    }
    if results.on_gpu:
        forms |= {
            'textbook, graph': lambda: Graphed(forms['textbook']()),
            'ours, graph': lambda: Graphed(ours()),
            'ours, NHWC, graph': lambda: Graphed(forms['ours, NHWC']()),
            'ours, bf16, graph': lambda: Graphed(forms['ours, bf16']()),
        }
    return forms


def both_steps(first: Run, second: Run, device: torch.device, dtype: torch.dtype | None = None) -> Run:
    """Two steps as one function, which returns the loss of the first."""

    def run() -> Tensor:
        losses = []
        for step in (first, second):  # a context each: its cache of cast weights belongs to one graph
            with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                losses.append(step())
        return losses[0]

    return run
