"""Do searched genotypes beat random ones? A study on reduced Fashion-MNIST, small enough to repeat on a CPU.

    python benchmarks/genotype_study.py random baselines --out runs.jsonl

The task is configs/fashion_mnist/hoga-resnet8_1xb32-6e_fashion-mnist.py: a ResNet-8 with three HOGA cells. The accuracy
of a training is that on the test set after the last epoch. The sections are:

    random      40 genotypes of `mmhoga random-search --seed 0`, each trained with 2 seeds
    baselines   no attention, SE, CBAM, HOG_SE, HOG_CBAM, the paper's genotype, HOGA cells whose edges are all
                skip-connections, and a wider plain network of equal MACs
    searches    5 searches for each way to search: the paper's, alpha warm-up, annealed temperature, Gumbel sampling
    selected    the genotypes that perturbation and scores choose from the supernets of the paper's searches
    searched    the genotypes of searches and selected, each trained with 2 seeds
    scores      the scores of the 40 random genotypes with the weights of the supernets

Each run appends one line to the file, and a run whose line is there is skipped: the command continues where it was
stopped, and several may run side by side on different sections. The sections after baselines build on each other in
this order. Searches leave their checkpoints in --supernets.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmhoga.hosts import import_mmpretrain, load_config
from mmhoga.search import search_config
from mmhoga.search.selection import SupernetScore
from mmhoga.search.selection.finished import open_search
from mmhoga.search.selection.select import Selection
from mmhoga.studies.space import sample_genotypes

TRAINING = 'hoga-resnet8_1xb32-6e_fashion-mnist'
METRIC = 'accuracy/top1'
WIDTH = 18  # of the plain network with the MACs of the one with HOGA
BASELINES: dict[str, dict[str, Any] | None] = {
    'plain': None,
    'plain, wider': None,
    'SE': dict(type='mmhoga.Attention', name='se'),
    'CBAM': dict(type='mmhoga.Attention', name='cbam'),
    'HOG_SE': dict(type='mmhoga.HOGA', genotype='hog_se'),
    'HOG_CBAM': dict(type='mmhoga.HOGA', genotype='hog_cbam'),
    'autola': dict(type='mmhoga.HOGA', genotype='autola'),
    'HOGA, skips only': dict(type='mmhoga.HOGA', genotype=[['skip_connect'] * k for k in range(1, 5)]),
}

# The ways to search, as settings of the loop. All else is equal: 10 epochs of 31 steps on alpha and on the weights.
WAYS: dict[str, dict[str, Any]] = {
    'paper': {},
    'warm-up': dict(warmup_epochs=3),
    'temperature': dict(temperature=dict(start=1.0, end=0.1, schedule='exponential')),
    'gumbel': dict(sampling='gumbel', temperature=dict(start=10.0, end=0.1)),
}
SCORED = ('paper',)  # the supernets that score the random genotypes
SEARCHES = range(5)

Run = tuple[dict[str, Any], Callable[[], dict[str, Any]]]  # what identifies a run, and the function that does it


def training(attention: dict[str, Any] | None, data: str) -> Config:
    """The training config with another attention."""
    cfg = load_config(TRAINING)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = data
    plugins = cfg.model.backbone.pop('plugins')
    if attention is not None:
        cfg.model.backbone.plugins = [dict(plugins[0], cfg=attention)]
    return cfg


def wider(cfg: Config) -> Config:
    cfg.model.backbone.base_channels = WIDTH
    cfg.model.head.in_channels = 4 * WIDTH
    return cfg


def train(cfg: Config, seed: int) -> dict[str, Any]:
    """Train, and return the accuracy on the test set."""
    cfg.randomness = dict(seed=seed)
    cfg.default_hooks.checkpoint = None
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.experiment_name = Path(folder).name
        runner = Runner.from_cfg(cfg)
        runner.train()
        return {METRIC: runner.test()[METRIC]}


def train_genotype(edges: list[list[str]], data: str, seed: int) -> dict[str, Any]:
    return {'edges': edges, **train(training(dict(type='mmhoga.HOGA', genotype=edges), data), seed)}


def random_runs(args: argparse.Namespace) -> Iterator[Run]:
    for seed in range(2):
        for number, genotype in enumerate(sample_genotypes(40)):
            edges = [list(row) for row in genotype.edges]
            key = {'section': 'random', 'genotype': number, 'seed': seed}
            yield key, partial(train_genotype, edges, args.data, seed)


def baseline_runs(args: argparse.Namespace) -> Iterator[Run]:
    for seed in range(5):
        for name, attention in BASELINES.items():
            cfg = training(attention, args.data)
            run = partial(train, wider(cfg) if name == 'plain, wider' else cfg, seed)
            yield {'section': 'baselines', 'attention': name, 'seed': seed}, run


def search(cfg: Config, folder: Path) -> dict[str, Any]:
    """Search, and return the genotype and the mean entropy of the rows of softmax(alpha) in nats."""
    cfg.work_dir = str(folder)
    cfg.experiment_name = folder.name
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=cfg.train_cfg.max_epochs)
    Runner.from_cfg(cfg).train()
    last = json.loads((folder / 'search_history.json').read_text())['epochs'][-1]
    return {'edges': last['genotype'], 'entropy': sum(last['entropy']) / len(last['entropy'])}


def supernet(way: str, seed: int, args: argparse.Namespace) -> tuple[Config, Path]:
    """The config of a search, and its folder."""
    cfg = search_config(
        training(dict(type='mmhoga.HOGA', genotype='autola'), args.data), epochs=10, lr=0.05, alpha_lr=0.03, seed=seed
    )
    cfg.train_cfg.update(WAYS[way])
    return cfg, args.supernets / f'{way}-{seed}'


def search_runs(args: argparse.Namespace) -> Iterator[Run]:
    for seed in SEARCHES:
        for way in WAYS:
            yield {'section': 'searches', 'way': way, 'search': seed}, partial(search, *supernet(way, seed, args))


def select(way: str, method: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Choose another genotype from the supernet of a search, by a method with its default options."""
    cfg, folder = supernet(way, seed, args)
    search = open_search(cfg, folder / f'epoch_{cfg.train_cfg.max_epochs}.pth')
    (genotype,) = Selection(method).run(search, folder / method).values()
    return {'edges': [list(row) for row in genotype.edges]}


def selected_runs(args: argparse.Namespace) -> Iterator[Run]:
    for method in ('score', 'perturbation'):
        for seed in SEARCHES:
            key = {'section': 'selected', 'way': method, 'search': seed}
            yield key, partial(select, 'paper', method, seed, args)


def score_runs(args: argparse.Namespace) -> Iterator[Run]:
    for way in SCORED:
        for seed in SEARCHES:
            score = cache(partial(scorer, way, seed, args))
            for number, genotype in enumerate(sample_genotypes(40)):
                key = {'section': 'scores', 'way': way, 'search': seed, 'genotype': number}
                yield key, lambda score=score, genotype=genotype: {'score': score()(genotype)[METRIC]}


def scorer(way: str, seed: int, args: argparse.Namespace) -> SupernetScore:
    cfg, folder = supernet(way, seed, args)
    return SupernetScore(cfg, folder / f'epoch_{cfg.train_cfg.max_epochs}.pth', data='val')


def searched_runs(args: argparse.Namespace) -> Iterator[Run]:
    found = [row for row in rows_of(args.out) if row['section'] in ('searches', 'selected')]
    for seed in range(2):
        for row in found:
            key = {'section': 'searched', 'way': row['way'], 'search': row['search'], 'seed': seed}
            yield key, partial(train_genotype, row['edges'], args.data, seed)


SECTIONS = {
    'random': random_runs,
    'baselines': baseline_runs,
    'searches': search_runs,
    'selected': selected_runs,
    'searched': searched_runs,
    'scores': score_runs,
}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sections', nargs='+', choices=SECTIONS)
    parser.add_argument('--data', default='data/fashion_mnist', help='folder with the four unzipped files')
    parser.add_argument('--out', type=Path, required=True, help='file to which each run appends a line')
    parser.add_argument(
        '--supernets', type=Path, default=Path('work_dirs/genotype_study'), help='folder of the searches'
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    import_mmpretrain(load_config(TRAINING))
    for section in args.sections:
        for key, run in SECTIONS[section](args):
            if any(row.items() >= key.items() for row in rows_of(args.out)):
                continue
            start = time.process_time()
            row = {**key, **run(), 'cpu_seconds': round(time.process_time() - start, 1)}
            with args.out.open('a') as file:
                file.write(json.dumps(row) + '\n')
            print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
