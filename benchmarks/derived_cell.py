"""ResNet-50 with HOGA in every block against the plain network: inference, inference when fused, a training step.

    python benchmarks/derived_cell.py --threads 2
    python benchmarks/derived_cell.py --threads 2 --compile    # also both sides compiled: takes 10 minutes
    python benchmarks/derived_cell.py --threads 2 --regions    # also HOGA with compile=True: cells by region
    python benchmarks/derived_cell.py --threads 2 --regions static    # the same for one image size
    python benchmarks/derived_cell.py --threads 2 --profile    # the time per operator instead
    python benchmarks/derived_cell.py --count --batch 2        # operator calls, also of SE and CBAM, instead
    TRITON_INTERPRET=1 python benchmarks/derived_cell.py --count --batch 2    # also of HOGA with Triton
    python benchmarks/derived_cell.py --count --batch 2 --compile    # with compiled kernels: takes half an hour

Each side is measured in both memory formats, in turns, and the table shows the faster one. Compiled sides run in
channels_last only.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from side_by_side import Calls, alternate, kernels, operators, ratio, spread, table
from torch import nn

from mmhoga.backbones import ResNet
from mmhoga.deploy import fuse
from mmhoga.models.fast.triton import launch

FORMATS = {'NCHW': torch.contiguous_format, 'NHWC': torch.channels_last}


def inference(model: nn.Module, x: torch.Tensor) -> None:
    model.eval()
    with torch.inference_mode():
        model(x)


def fused(model: nn.Module, x: torch.Tensor) -> None:
    inference(model, x)


def training(model: nn.Module, x: torch.Tensor) -> None:
    model.train()
    model(x)[0].mean().backward()
    model.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--depth', type=int, default=50)
    parser.add_argument('--genotype', default='autola')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--compile', action='store_true', help='also measure both sides compiled')
    parser.add_argument(
        '--regions', nargs='?', const='dynamic', choices=('dynamic', 'static'), help='also HOGA with its cells compiled'
    )
    parser.add_argument('--profile', action='store_true', help='print the time per operator, in channels_last, instead')
    parser.add_argument('--count', action='store_true', help='print operator calls and bytes instead, in channels_last')
    parser.add_argument('--only', choices=('inference', 'fused', 'training'), help='run one of the three')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    logging.disable(logging.INFO)

    plugin = dict(cfg=dict(type='mmhoga.HOGA', genotype=args.genotype), position='after_conv2')
    x = torch.randn(args.batch, 3, args.size, args.size)
    print(
        f'ResNet-{args.depth}, {args.genotype}, batch {args.batch}, {args.size} x {args.size}, {args.threads} threads'
    )
    if args.count:
        print(table(counts(args.depth, plugin, x.to(memory_format=torch.channels_last), args.compile)))
        return
    rows = [('', 'plain', 'format', 'HOGA', 'format', 'ratio')]
    for run in (inference, fused, training):
        if args.only not in (None, run.__name__):
            continue
        if args.profile:
            nhwc = x.to(memory_format=torch.channels_last)
            models = {'plain': network(run, None, args.depth, x[:1]), 'HOGA': network(run, [plugin], args.depth, x[:1])}
            runs = {k: partial(run, m.to(memory_format=torch.channels_last), nhwc) for k, m in models.items()}
            print(table(operators(run.__name__, runs)), end='\n\n')
            continue
        sides: dict[str, Callable[[], None]] = {}
        for name, memory in FORMATS.items():
            for side, plugins in (('plain', None), ('HOGA', [plugin])):
                model = network(run, plugins, args.depth, x[:1]).to(memory_format=memory)
                sides[f'{side} {name}'] = partial(run, model, x.to(memory_format=memory))
                if args.compile and memory is torch.channels_last:
                    compiled = torch.compile(model, dynamic=False)
                    sides[f'compiled {side} {name}'] = partial(run, compiled, x.to(memory_format=memory))
        if args.regions:
            setting = True if args.regions == 'dynamic' else dict(dynamic=False)
            regions = [dict(plugin, cfg=dict(plugin['cfg'], compile=setting))]
            nhwc = x.to(memory_format=torch.channels_last)
            models = [network(run, plugins, args.depth, x[:1]) for plugins in (None, regions)]
            plain, cells = (model.to(memory_format=torch.channels_last) for model in models)
            sides['regions HOGA NHWC'] = partial(run, cells, nhwc)
            for name, model in (('the plain network', torch.compile(plain)), ('the cells of HOGA', cells)):
                start = time.perf_counter()
                run(model, nhwc)
                print(f'{run.__name__}: compiling {name} took {time.perf_counter() - start:.0f} s', flush=True)
        seconds = alternate(sides, args.rounds)
        rows.append(row(run.__name__, 'plain', 'HOGA', seconds))
        if args.regions:
            rows.append(row(f'{run.__name__}, regions', 'plain', 'regions HOGA', seconds))
        if args.compile:
            rows.append(row(f'{run.__name__}, compiled', 'compiled plain', 'compiled HOGA', seconds))
    if not args.profile:
        print(table(rows))


def counts(depth: int, hoga: dict, x: torch.Tensor, compiled: bool) -> list[tuple[str, ...]]:
    """Operator calls and bytes of networks without plugins and with different ones; kernels in inference."""
    rows = [('', 'calls, inference', 'training', 'fused', 'GB moved, inference', 'training')]
    if compiled:
        rows = [(*rows[0], 'kernels, compiled', 'compiling')]
    attention = {name: dict(type='mmhoga.Attention', name=name) for name in ('se', 'cbam')}
    sides: dict[str, list | None] = {'plain': None, 'HOGA': [hoga]}
    sides |= {name: [dict(cfg=cfg, position='after_conv3')] for name, cfg in attention.items()}
    if launch.installed() and launch.interpreted():
        sides['HOGA, Triton'] = [dict(hoga, cfg=dict(hoga['cfg'], triton=True))]
    small = x[:2, :, :33, :33].contiguous(memory_format=torch.channels_last)
    for name, plugins in sides.items():
        counters = {}
        for run in (inference, training, fused):
            model = network(run, plugins, depth, small).to(memory_format=torch.channels_last)
            run(model, small)  # the first call may allocate
            with Calls() as counters[run.__name__]:
                run(model, x)
        row = [name, *(str(counter.count) for counter in counters.values())]
        row += [f'{counters[key].bytes / 1e9:.2f}' for key in ('inference', 'training')]
        if compiled:
            model = torch.compile(network(inference, plugins, depth, small).to(memory_format=torch.channels_last))
            start = time.perf_counter()
            row += [str(kernels(partial(inference, model, x))), f'{time.perf_counter() - start:.0f} s']
        rows.append(tuple(row))
    return rows


def network(run: Callable, plugins: list | None, depth: int, example: torch.Tensor) -> nn.Module:
    model = ResNet(depth, plugins=plugins)
    return fuse(model, example) if run is fused else model


def row(label: str, plain: str, hoga: str, seconds: Mapping[str, list[float]]) -> tuple[str, ...]:
    """Each side in its faster format, by the median."""
    best = [
        min((key for key in seconds if key.startswith(side)), key=lambda key: statistics.median(seconds[key]))
        for side in (plain, hoga)
    ]
    cells = [cell for key in best for cell in (spread(seconds[key]), key.split()[-1])]
    return label, *cells, f'{ratio(seconds[best[1]], seconds[best[0]]):.2f}'


if __name__ == '__main__':
    main()
