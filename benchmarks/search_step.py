"""One first-order search step, on alpha and on the weights: the supernet of the library against the textbook form.

    python benchmarks/search_step.py --depth 20 --threads 2
    python benchmarks/search_step.py --depth 20 --threads 2 --compile    # five forms instead of three; takes minutes
    python benchmarks/search_step.py --depth 20 --threads 2 --profile    # per operator
    python benchmarks/search_step.py --depth 8 --size 8                  # the search of the demo

The forms, each a copy with the same parameters:

- textbook (textbook_modules.py): a module for each candidate on each edge, and ``backward()`` for both steps, as in the
  released code;
- one by one: the cells of the library without ``batched_gates``, so that each candidate computes its own gate (of the
  hand-written backward passes only that of ``channel_pool`` is left);
- batched: the cells of the library;
- the last two with compiled cells (``torch.compile``).

All forms see the same batch and take turns. The losses are printed, and must be equal. Optimizers are left out, since
they would be the same.
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
from mmhoga.models.supernet import MixedEdges
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
    parser.add_argument('--compile', action='store_true', help='also measure both forms of the library compiled')
    parser.add_argument('--profile', action='store_true', help='print the time per operator of both steps instead')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    logging.disable(logging.INFO)

    model = SearchModel(Classifier(args.depth, args.width, args.groups))
    model.init_weights()
    batch = (torch.randn(args.batch, 3, args.size, args.size), torch.randint(10, (args.batch,)))
    with model.differentiating_alpha():
        old = textbook(model.architecture)

    forms = {'one by one': one_by_one(model), 'batched': model}
    if args.compile:
        forms |= {f'{name}, compiled': compiled(form) for name, form in list(forms.items())}
    steps = {'textbook': weight_step(old, batch)}
    for name, form in forms.items():
        steps[f'{name}, weights'], steps[f'{name}, alpha'] = weight_step(form, batch), alpha_step(form, batch)

    if args.profile:
        sides = {'textbook': ['textbook'] * 2, 'batched': ['batched, weights', 'batched, alpha']}
        both = {side: lambda names=names: [steps[name]() for name in names] for side, names in sides.items()}
        print(table(operators('both steps', both)))
        return

    print(
        f'ResNet-{args.depth} of width {args.width}, K = {args.groups}, batch {args.batch}, {args.size} x {args.size}, '
        f'{args.threads} threads'
    )
    first, losses = {}, {}
    for name, step in steps.items():
        start = time.perf_counter()
        losses[name] = f'{float(step()):.6f}'
        first[name] = time.perf_counter() - start
    print(f'losses {", ".join(losses.values())}')
    for name in forms:
        print(f'{name}: {first[f"{name}, weights"] + first[f"{name}, alpha"]:.0f} s for the first two steps')

    seconds = alternate(steps, args.rounds)
    count = {name: calls(step) for name, step in steps.items() if 'compiled' not in name}
    rows = [
        ('', 'step on weights', 'step on alpha', 'both', 'textbook / this', 'calls, both', 'saved, weights', 'alpha')
    ]
    textbook_both = [2 * t for t in seconds['textbook']]
    for name, form in {'textbook': old, **forms}.items():
        parts = ('textbook', 'textbook') if form is old else (f'{name}, weights', f'{name}, alpha')
        weights, alpha = (seconds[part] for part in parts)
        both = [w + a for w, a in zip(weights, alpha)]
        row = (name, spread(weights), spread(alpha), spread(both), f'{ratio(textbook_both, both):.2f}')
        if 'compiled' in name:
            rows.append((*row, '', '', ''))
        else:
            saved = [saved_bytes(forward, form) for forward in _forwards(form, batch)]
            rows.append((*row, str(sum(count[part] for part in parts)), *(f'{s / 1e6:.0f} MB' for s in saved)))
    print(table(rows))


def one_by_one(model: SearchModel) -> SearchModel:
    """A copy whose cells compute the gate of each candidate by itself."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, MixedEdges):
            module.batched_gates = None
    return model


def compiled(model: SearchModel) -> SearchModel:
    """A copy with compiled cells."""
    model = copy.deepcopy(model)
    for cell in model.cells():
        cell.compile()
    return model


def weight_step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], Tensor]:
    def step() -> Tensor:
        loss = model(*batch)
        loss.backward()
        model.zero_grad()
        return loss.detach()

    return step


def alpha_step(model: SearchModel, batch: tuple[Tensor, Tensor]) -> Callable[[], Tensor]:
    def step() -> Tensor:
        with model.differentiating_alpha() as (alpha,), model.frozen_weights():
            loss = model(*batch)
            loss.backward(inputs=[alpha])
        alpha.grad = None
        return loss.detach()

    return step


def _forwards(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The forward passes of the step on the weights and of the step on alpha."""

    def forward() -> Tensor:
        return model(*batch)

    def alpha_forward() -> Tensor:
        with model.differentiating_alpha(), model.frozen_weights():
            return model(*batch)

    return forward, alpha_forward if isinstance(model, SearchModel) else forward


if __name__ == '__main__':
    main()
