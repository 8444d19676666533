"""One first-order search step, alpha and weights: the library's supernet against the textbook form.

    python benchmarks/search_step.py --depth 20 --threads 2
    python benchmarks/search_step.py --depth 20 --threads 2 --compile    # beside it, the cells compiled: minutes
    python benchmarks/search_step.py --depth 20 --threads 2 --profile    # operator by operator
    python benchmarks/search_step.py --depth 8 --size 8                  # the demo's

The textbook form (textbook_modules.py) has a module for each candidate on each edge and calls ``backward()`` for both
steps, as the released code does. Both sides start from the same parameters, see the same batch and run alternately; the
losses are printed too. Optimizers are left out: they would be the same.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from side_by_side import alternate, calls, operators, ratio, saved_bytes, spread, table
from textbook_modules import textbook
from torch import Tensor, nn

from mmhoga.backbones import CIFARResNet
from mmhoga.search import SearchModel


class Classifier(BaseModel):
    """A CIFAR ResNet with a supernet in each block."""

    def __init__(self, depth: int, width: int, num_groups: int) -> None:
        super().__init__()
        plugin = dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=num_groups), position='after_conv2')
        self.backbone = CIFARResNet(depth, base_channels=width, plugins=[plugin])
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.fc(self.backbone(inputs)[0].mean((2, 3))), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--depth', type=int, default=8)
    parser.add_argument('--width', type=int, default=16)
    parser.add_argument('--groups', type=int, default=4, help='K')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--size', type=int, default=32, help='height and width of the images')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--compile', action='store_true', help='also measure the library with compiled cells')
    parser.add_argument('--profile', action='store_true', help='the operators of both steps instead')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    logging.disable(logging.INFO)

    model = SearchModel(Classifier(args.depth, args.width, args.groups))
    model.init_weights()
    batch = (torch.randn(args.batch, 3, args.size, args.size), torch.randint(10, (args.batch,)))
    with model.differentiating_alpha():
        old = textbook(model.architecture)

    steps = {'textbook': _weight_step(old, batch)}
    forms = {'mmhoga': model}
    if args.compile:
        forms['compiled'] = copy.deepcopy(model)
        forms['compiled'].compile_cells()
    for form, searched in forms.items():
        steps[f'{form}, weights'], steps[f'{form}, alpha'] = _weight_step(searched, batch), _alpha_step(searched, batch)

    if args.profile:
        sides = {'textbook': ['textbook'] * 2, 'mmhoga': ['mmhoga, weights', 'mmhoga, alpha']}
        both = {side: lambda names=names: [steps[name]() for name in names] for side, names in sides.items()}
        print(table(operators('both steps', both)))
        return

    start = time.perf_counter()
    losses = {name: f'{float(step()):.6f}' for name, step in steps.items()}
    first = time.perf_counter() - start
    seconds = alternate(steps, args.rounds)
    count = {name: calls(step) for name, step in steps.items() if not name.startswith('compiled')}
    old_calls, new_calls = 2 * count['textbook'], count['mmhoga, weights'] + count['mmhoga, alpha']
    saved = _saved(old, model, batch)
    print(
        f'ResNet-{args.depth} of width {args.width}, K = {args.groups}, batch {args.batch}, {args.size} x {args.size}, '
        f'{args.threads} threads; losses {", ".join(losses.values())}; {first:.0f} s until all had run once'
    )
    rows = [('', 'textbook', 'mmhoga', 'ratio')]
    for form in forms:
        weights, alpha = (seconds[f'{form}, {step}'] for step in ('weights', 'alpha'))
        label = '' if form == 'mmhoga' else f', {form}'
        rows += [
            _times(f'step on weights{label}', seconds['textbook'], weights),
            _times(f'step on alpha{label}', seconds['textbook'], alpha),
            _times(f'both{label}', [2 * t for t in seconds['textbook']], [w + a for w, a in zip(weights, alpha)]),
        ]
    rows += [
        _bytes('saved, weights', saved[0], saved[1]),
        _bytes('saved, alpha', saved[0], saved[2]),
        ('operator calls, both', *map(str, (old_calls, new_calls)), f'{old_calls / new_calls:.2f}'),
    ]
    print(table(rows))


def _weight_step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], Tensor]:
    def step() -> Tensor:
        loss = model(*batch)
        loss.backward()
        model.zero_grad()
        return loss.detach()

    return step


def _alpha_step(model: SearchModel, batch: tuple[Tensor, Tensor]) -> Callable[[], Tensor]:
    def step() -> Tensor:
        with model.differentiating_alpha() as (alpha,), model.frozen_weights():
            loss = model(*batch)
            loss.backward(inputs=[alpha])
        alpha.grad = None
        return loss.detach()

    return step


def _saved(old: nn.Module, model: SearchModel, batch: tuple[Tensor, Tensor]) -> list[int]:
    def alpha_forward() -> Tensor:
        with model.differentiating_alpha(), model.frozen_weights():
            return model(*batch)

    return [
        saved_bytes(lambda: old(*batch), old),
        saved_bytes(lambda: model(*batch), model),
        saved_bytes(alpha_forward, model),
    ]


def _times(label: str, old: list[float], new: list[float]) -> tuple[str, ...]:
    return label, spread(old), spread(new), f'{ratio(old, new):.2f}'


def _bytes(label: str, old: int, new: int) -> tuple[str, ...]:
    return label, f'{old / 1e6:.0f} MB', f'{new / 1e6:.0f} MB', f'{old / new:.2f}'


if __name__ == '__main__':
    main()
