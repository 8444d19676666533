"""One first-order search step, alpha and weights: the library's supernet against the textbook form.

    python benchmarks/search_step.py --depth 20 --threads 2
    python benchmarks/search_step.py --depth 8 --size 8            # the demo's

The textbook form (textbook_modules.py) has a module for each candidate on each edge and calls ``backward()`` for both
steps, as the released code does. Both sides start from the same parameters, see the same batch and run alternately; the
losses are printed too. Optimizers are left out: they would be the same.
"""

from __future__ import annotations

import argparse
import logging

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from side_by_side import alternate, calls, ratio, saved_bytes, spread, table
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
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    logging.disable(logging.INFO)

    model = SearchModel(Classifier(args.depth, args.width, args.groups))
    model.init_weights()
    batch = (torch.randn(args.batch, 3, args.size, args.size), torch.randint(10, (args.batch,)))
    with model.differentiating_alpha():
        old = textbook(model.architecture)

    def textbook_step() -> Tensor:
        loss = old(*batch)
        loss.backward()
        old.zero_grad()
        return loss.detach()

    def weight_step() -> Tensor:
        loss = model(*batch)
        loss.backward()
        model.zero_grad()
        return loss.detach()

    def alpha_step() -> Tensor:
        with model.differentiating_alpha() as (alpha,), model.frozen_weights():
            loss = model(*batch)
            loss.backward(inputs=[alpha])
        alpha.grad = None
        return loss.detach()

    def alpha_forward() -> Tensor:
        with model.differentiating_alpha(), model.frozen_weights():
            return model(*batch)

    losses = [f'{float(step()):.6f}' for step in (textbook_step, weight_step, alpha_step)]
    seconds = alternate(dict(textbook=textbook_step, weights=weight_step, alpha=alpha_step), args.rounds)
    count = {step.__name__: calls(step) for step in (textbook_step, weight_step, alpha_step)}
    saved = [saved_bytes(lambda: old(*batch), old)]
    saved += [saved_bytes(lambda: model(*batch), model), saved_bytes(alpha_forward, model)]
    both = {
        'textbook': [2 * t for t in seconds['textbook']],
        'mmhoga': [w + a for w, a in zip(seconds['weights'], seconds['alpha'])],
    }
    new_calls = count['weight_step'] + count['alpha_step']
    print(
        f'ResNet-{args.depth} of width {args.width}, K = {args.groups}, batch {args.batch}, {args.size} x {args.size}, '
        f'{args.threads} threads; losses {", ".join(losses)}'
    )
    megabytes = [f'{size / 1e6:.0f} MB' for size in saved]
    print(
        table(
            [
                ('', 'textbook', 'mmhoga', 'ratio'),
                (
                    'step on weights',
                    spread(seconds['textbook']),
                    spread(seconds['weights']),
                    _ratio(seconds, 'weights'),
                ),
                ('step on alpha', spread(seconds['textbook']), spread(seconds['alpha']), _ratio(seconds, 'alpha')),
                ('both', spread(both['textbook']), spread(both['mmhoga']), f'{ratio(*both.values()):.2f}'),
                ('saved, weights', megabytes[0], megabytes[1], f'{saved[0] / saved[1]:.2f}'),
                ('saved, alpha', megabytes[0], megabytes[2], f'{saved[0] / saved[2]:.2f}'),
                (
                    'operator calls, both',
                    str(2 * count['textbook_step']),
                    str(new_calls),
                    f'{2 * count["textbook_step"] / new_calls:.2f}',
                ),
            ]
        )
    )


def _ratio(seconds: dict[str, list[float]], step: str) -> str:
    return f'{ratio(seconds["textbook"], seconds[step]):.2f}'


if __name__ == '__main__':
    main()
