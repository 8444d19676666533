"""Figures of features over a data set: ``mmhoga selectivity`` and ``mmhoga tsne`` (supplement, Fig. 1 and 2)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size, init_dist, is_main_process
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mmhoga.cli.looks.networks import Picture, TrainedNetwork, batch, load_networks, look_parser, save_look
from mmhoga.cli.run import distributed
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import not_negative, positive, seed
from mmhoga.figures.look_figures import selectivity_figure, tsne_figure
from mmhoga.hosts import LaunchError
from mmhoga.look.outputs import pooled
from mmhoga.look.selectivity import ClassMeans
from mmhoga.look.tsne import embed, neighbour_score
from mmhoga.models.hooks import captured, output_of, undisturbed


def selectivity_main(argv: Sequence[str] | None = None) -> int:
    """Draw the class selectivity index of every channel; returns the exit code."""
    parser = _parser(
        'Measure how selective each channel is for one class, and draw the distribution per layer.',
        'mmhoga selectivity --model HOGA work_dirs/demo/hoga-searched-seed0 --out selectivity.png',
    )
    parser.add_argument('--layers', nargs='+', metavar='NAME', help='layers to measure (default: every stage)')
    parser.add_argument('--skip-empty-classes', action='store_true', help='leave out classes without images')
    launchers = ['none', 'pytorch', 'slurm', 'mpi']
    parser.add_argument('--launcher', choices=launchers, default='none', help='what started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return run(lambda: _draw_selectivity(parser.parse_args(argv)), ValueError, OSError)


def tsne_main(argv: Sequence[str] | None = None) -> int:
    """Draw a Barnes-Hut t-SNE of a layer's features, networks side by side; returns the exit code."""
    parser = _parser(
        "Draw a layer's features in two dimensions (t-SNE), coloured by class.",
        'mmhoga tsne --model HOGA work_dirs/demo/hoga-searched-seed0 --out tsne.png',
    )
    parser.add_argument('--layer', help='the layer, such as backbone.layer3 (default: the last stage)')
    samples_help = 'size of a random subset (default: 2000)'
    parser.add_argument('--max-samples', type=positive(int), default=2000, help=samples_help)
    parser.add_argument('--perplexity', type=float, default=30.0, help='of t-SNE (default: 30)')
    parser.add_argument('--seed', type=seed, default=0, help='of the subset and of t-SNE (default: 0)')
    return run(lambda: _draw_tsne(parser.parse_args(argv)), ValueError, OSError)


def _parser(purpose: str, example: str) -> argparse.ArgumentParser:
    parser = look_parser(purpose, example)
    batch_help = 'images per batch; does not change the result'
    parser.add_argument('--batch-size', type=positive(int), default=64, help=batch_help)
    parser.add_argument('--workers', type=not_negative, default=0, help='processes that read images (default: 0)')
    return parser


def _draw_selectivity(args: argparse.Namespace) -> None:
    try:
        # Before the networks are loaded, so that each process loads them onto its own device.
        distributed.prepare(Config({'launcher': args.launcher}))
        if args.launcher != 'none' and distributed.has_accelerator():
            init_dist(args.launcher)
        networks = load_networks(args)
        means = {network.name: _class_means(network, args) for network in networks}
        if not is_main_process():
            return
    finally:
        distributed.leave()
    curves: dict[str, dict[str, np.ndarray]] = {}
    arrays, results = {}, []
    for name, layers in means.items():
        curves[name] = {}
        for layer, one in layers.items():
            index = one.selectivity(skip_empty=True).numpy()
            curves[name][layer.removeprefix('backbone.')] = arrays[f'{name}/{layer}/selectivity'] = index
            arrays[f'{name}/{layer}/class_sums'] = one.sums.numpy()  # type: ignore[union-attr]
            arrays[f'{name}/{layer}/class_counts'] = one.counts.numpy()
        entry = {'model': name, 'images': int(one.counts.sum()), 'classes_without_images': one.empty_classes}
        entry['mean_selectivity'] = {layer: float(arrays[f'{name}/{layer}/selectivity'].mean()) for layer in layers}
        results.append(entry)
    save_look(args, networks, selectivity_figure(curves), arrays, {'command': 'selectivity', 'results': results})


def _class_means(network: TrainedNetwork, args: argparse.Namespace) -> dict[str, ClassMeans]:
    """The mean activity per class and channel of every layer; each process runs its share of the images."""
    layers = args.layers or network.stages()
    names: Sequence[str] = network.dataset.metainfo.get('classes') or network.classes
    if not names:
        raise LaunchError(f'{network.name}: neither its data set (metainfo) nor its checkpoint names the classes.')
    means = {layer: ClassMeans(len(names)) for layer in layers}
    share = range(get_rank(), len(network.dataset), get_world_size())
    for outputs, labels in _labelled_features(network, layers, share, args):
        for layer, output in outputs.items():
            means[layer].update(pooled(output.relu(), layer), labels)
    for layer_means in means.values():
        layer_means.reduce_over_processes()
        empty = layer_means.empty_classes
        if empty and not args.skip_empty_classes:
            examples = ', '.join(f'{names[index]} ({index})' for index in empty[:8]) + (', ...' if empty[8:] else '')
            raise LaunchError(
                f'{network.name}: {len(empty)} of {len(names)} classes have no image in the data set: {examples}. '
                'Use a data set with images of every class, or add --skip-empty-classes.'
            )
    return means


def _draw_tsne(args: argparse.Namespace) -> None:
    networks = load_networks(args)
    embeddings: dict[str, tuple[np.ndarray, float]] = {}
    arrays: dict[str, np.ndarray] = {}
    results = []
    for network in networks:
        layer = args.layer or network.stages()[-1]
        features, labels = _mean_features(network, layer, args)
        if not np.array_equal(arrays.setdefault('labels', labels), labels):
            raise LaunchError(f'{network.name} and {networks[0].name} have different test data. Compare them on one.')
        points = embed(features, perplexity=args.perplexity, seed=args.seed)
        score = neighbour_score(points, labels)
        embeddings[network.name] = (points, score)
        arrays[f'{network.name}/points'], arrays[f'{network.name}/features'] = points, features
        entry = {'model': network.name, 'layer': layer, 'neighbour_score': score}
        results.append({**entry, 'neighbour_score_of_features': neighbour_score(features, labels)})
    labels = arrays['labels']
    classes = networks[0].classes or tuple(map(str, range(int(labels.max()) + 1)))
    settings = {'perplexity': args.perplexity, 'seed': args.seed, 'images': len(labels)}
    entries = {'command': 'tsne', **settings, 'results': results}
    save_look(args, networks, tsne_figure(embeddings, labels, classes), arrays, entries)


def _mean_features(network: TrainedNetwork, layer: str, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each channel over each labelled image, ``(N, C)``, and the labels ``(N,)``."""
    total = len(network.dataset)
    chosen = np.arange(total)
    if args.max_samples < total:
        chosen = np.sort(np.random.default_rng(args.seed).choice(total, args.max_samples, replace=False))
    features, labels = [], []
    for outputs, batch_labels in _labelled_features(network, [layer], chosen.tolist(), args):
        features.append(pooled(outputs[layer], layer).cpu().double().numpy())
        labels += batch_labels
    if not labels:
        raise LaunchError(f'{network.name}: no sample of its data set has a label.')
    return np.concatenate(features), np.array(labels)


def _labelled_features(
    network: TrainedNetwork, layers: Sequence[str], indices: Sequence[int], args: argparse.Namespace
) -> Iterator[tuple[dict[str, Tensor], list[int]]]:
    """Run chosen samples of the data set; yield a layer's output ``(N, ...)`` by name, and N labels, per batch.

    Samples without a label are left out. All images of a batch have one size, so none is padded and the results do not
    depend on the batch size.
    """
    loader = DataLoader(
        Subset(network.dataset, indices), batch_size=args.batch_size, num_workers=args.workers, collate_fn=list
    )
    with undisturbed(network.model), captured(network.model, layers) as outputs, torch.no_grad():
        for chunk in loader:
            labelled = [picture for picture in (Picture(data, '') for data in chunk) if picture.label is not None]
            for _, group in groupby(labelled, lambda picture: picture.size):
                pictures = list(group)
                network.run_layers(batch(network, pictures)[0], layers)
                labels = [picture.label for picture in pictures]
                yield {layer: output_of(outputs, layer) for layer in layers}, labels  # type: ignore[misc]
