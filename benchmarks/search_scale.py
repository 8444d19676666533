"""Cost of a search step by K, width, depth, resolution and batch; a formula, and its prediction for a GPU.

    python benchmarks/search_scale.py

One setting at a time differs from a small base. Each is run in turn with the base. The time is the median ratio of CPU
seconds over all threads, which other processes disturb least. ``V`` is the work in the formula, the number of elements
of all maps of all edges:

    V = sum over cells of N H W * K (K + 1) / 2 * (C / K + 2)

(each edge works on its group of C / K channels and on two pooled maps). Memory and traffic are fitted as a + b V, time
as a calls + b V. Operator calls and traffic (bytes that the calls read and write) are counted, not timed. The
prediction for a GPU is the larger of calls times launch time and traffic over bandwidth. Launch time and bandwidth are
assumptions, set on the command line.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from search_step import Classifier
from side_by_side import Calls, alternate, ratio, saved_bytes, table

from mmhoga.search import SearchModel


@dataclass(frozen=True)
class Setting:
    groups: int = 4
    width: int = 16
    depth: int = 8
    size: int = 16
    batch: int = 16

    @property
    def volume(self) -> float:
        """V."""
        maps = self.groups * (self.groups + 1) / 2
        pixels = self.batch * self.size**2
        blocks = (self.depth - 2) // 6
        return sum(blocks * pixels / 4**stage * maps * (self.width * 2**stage / self.groups + 2) for stage in range(3))

    def __str__(self) -> str:
        return f'K={self.groups} w={self.width} d={self.depth} {self.size}x{self.size} N={self.batch}'


BASE = Setting()
SWEEP = [
    *(replace(BASE, groups=k) for k in (1, 2, 8)),
    *(replace(BASE, width=w) for w in (32, 64)),
    *(replace(BASE, depth=d) for d in (14, 20)),
    *(replace(BASE, size=s) for s in (8, 32)),
    *(replace(BASE, batch=n) for n in (32, 64)),
]
#: The paper's search, and a ResNet of three stages at ImageNet's resolution after a stem of stride 4.
PREDICTED = {
    'CIFAR-10, ResNet-20': Setting(depth=20, size=32, batch=128),
    'ImageNet, three stages of width 64': Setting(depth=20, width=64, size=56, batch=128),
}


class Case:
    """A model with this setting, and a batch."""

    def __init__(self, setting: Setting) -> None:
        torch.manual_seed(0)
        self.model = SearchModel(Classifier(setting.depth, setting.width, setting.groups))
        self.batch = (
            torch.randn(setting.batch, 3, setting.size, setting.size),
            torch.randint(10, (setting.batch,)),
        )

    def step(self) -> None:
        """The gradients of an iteration: weights, then alpha."""
        self.model(*self.batch).backward()
        self.model.zero_grad()
        with self.model.differentiating_alpha() as (alpha,), self.model.frozen_weights():
            self.model(*self.batch).backward(inputs=[alpha])
        alpha.grad = None

    def saved(self) -> int:
        return saved_bytes(lambda: self.model(*self.batch), self.model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--launch', type=float, default=5e-6, help='assumed seconds per operator call on a GPU')
    parser.add_argument('--bandwidth', type=float, default=9e11, help='assumed bytes per second of a GPU')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)

    base = Case(BASE)
    rows = [('', 'V / 1e6', 'time / base', 'saved MB', 'calls', 'traffic GB')]
    counts, volumes, ratios, saved, traffic, base_seconds = [], [], [], [], [], []
    for setting in (BASE, *SWEEP):
        case = Case(setting)
        sides: dict[str, Callable[[], None]] = {'base': base.step, 'case': case.step}
        seconds = alternate(sides, args.rounds, time.process_time)
        with Calls() as counter:
            case.step()
        base_seconds += seconds['base']
        volumes.append(setting.volume)
        ratios.append(ratio(seconds['case'], seconds['base']))
        counts.append(counter.count)
        saved.append(case.saved())
        traffic.append(counter.bytes)
        rows.append(
            (
                str(setting),
                f'{setting.volume / 1e6:.2f}',
                f'{ratios[-1]:.2f}',
                f'{saved[-1] / 1e6:.1f}',
                str(counter.count),
                f'{counter.bytes / 1e9:.3f}',
            )
        )
    print(f'{args.threads} threads; base {BASE}: {1e3 * statistics.median(base_seconds):.0f} CPU ms per step')
    print(table(rows))
    coefficients = np.linalg.lstsq(np.stack([counts, volumes], axis=1), np.array(ratios), rcond=None)[0]
    errors = np.abs(coefficients @ np.stack([counts, volumes]) - ratios) / ratios
    formula = f'time / base = {coefficients[0]:.3g} calls + {coefficients[1]:.3g} V'
    print(f'{formula}: error {np.median(errors):.0%} (median), {errors.max():.0%} (largest)')
    fits = {}
    for name, values in (('saved bytes', saved), ('traffic bytes', traffic)):
        slope, intercept = np.polyfit(volumes, values, 1)
        errors = np.abs(slope * np.array(volumes) + intercept - values) / values
        fits[name] = (slope, intercept)
        formula = f'{name} = {intercept:.3g} + {slope:.3g} V'
        print(f'{formula}: error {np.median(errors):.0%} (median), {errors.max():.0%} (largest)')
    print(predictions(fits, args.launch, args.bandwidth))


def predictions(fits: dict[str, tuple[float, float]], launch: float, bandwidth: float) -> str:
    """The table of :data:`PREDICTED`."""
    rows = [('predicted, not measured', 'V / 1e6', 'saved GB', 'traffic GB', 'calls', 'bound by', 'ms per step')]
    for name, setting in PREDICTED.items():
        small = Case(replace(setting, size=8, batch=2))  # the number of calls depends on neither
        with Calls() as counter:
            small.step()
        saved, traffic = (np.polyval(fits[key], setting.volume) for key in ('saved bytes', 'traffic bytes'))
        launching, moving = counter.count * launch, traffic / bandwidth
        rows.append(
            (
                name,
                f'{setting.volume / 1e6:.0f}',
                f'{saved / 1e9:.2f}',
                f'{traffic / 1e9:.0f}',
                str(counter.count),
                'launches' if launching > moving else 'bandwidth',
                f'{1e3 * max(launching, moving):.0f}',
            )
        )
    return table(rows)


if __name__ == '__main__':
    main()
