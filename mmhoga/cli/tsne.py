"""``mmhoga tsne``: Barnes-Hut t-SNE of a layer's features, networks side by side (supplement, Fig. 2)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from mmhoga.cli.looks.arguments import add_dataset_arguments, look_parser, save_look
from mmhoga.cli.looks.networks import TrainedNetwork, load_networks
from mmhoga.cli.looks.pictures import labelled_features
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import positive
from mmhoga.figures.feature_figures import tsne_figure
from mmhoga.hosts import LaunchError
from mmhoga.look.outputs import pooled
from mmhoga.look.tsne import embed, neighbour_score


def tsne_main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = look_parser(
        "Draw a layer's features in two dimensions (t-SNE), coloured by class.",
        'mmhoga tsne --model HOGA work_dirs/demo/hoga-searched-seed0 --out tsne.png',
    )
    add_dataset_arguments(parser)
    parser.add_argument('--layer', help='the layer, such as backbone.layer3 (default: the last stage)')
    parser.add_argument(
        '--max-samples', type=positive(int), default=2000, help='size of a random subset (default: 2000)'
    )
    parser.add_argument('--perplexity', type=float, default=30.0, help='of t-SNE (default: 30)')
    parser.add_argument('--seed', type=int, default=0, help='of the subset and of t-SNE (default: 0)')
    args = parser.parse_args(argv)
    return run(lambda: _draw(args), ValueError, OSError)


def _draw(args: argparse.Namespace) -> None:
    networks = load_networks(args)
    embeddings: dict[str, tuple[np.ndarray, float]] = {}
    arrays: dict[str, np.ndarray] = {}
    results = []
    for network in networks:
        layer = args.layer or network.stages()[-1]
        features, labels = _features(network, layer, args)
        if not np.array_equal(arrays.setdefault('labels', labels), labels):
            raise LaunchError(f'{network.name} and {networks[0].name} have different test data. Compare them on one.')
        points = embed(features, perplexity=args.perplexity, seed=args.seed)
        score = neighbour_score(points, labels)
        embeddings[network.name] = (points, score)
        arrays[f'{network.name}/points'], arrays[f'{network.name}/features'] = points, features
        results.append(
            {
                'model': network.name,
                'layer': layer,
                'neighbour_score': score,
                'neighbour_score_of_features': neighbour_score(features, labels),
            }
        )
    labels = arrays['labels']
    classes = networks[0].classes or tuple(map(str, range(int(labels.max()) + 1)))
    settings = {'perplexity': args.perplexity, 'seed': args.seed, 'images': len(labels)}
    figure = tsne_figure(embeddings, labels, classes)
    save_look(args, 'tsne', networks, figure, arrays, **settings, results=results)


def _features(network: TrainedNetwork, layer: str, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each channel over each labelled image, ``(N, C)``, and the labels ``(N,)``."""
    total = len(network.dataset)
    chosen = np.arange(total)
    if args.max_samples < total:
        chosen = np.sort(np.random.default_rng(args.seed).choice(total, args.max_samples, replace=False))
    features, labels = [], []
    for outputs, batch_labels in labelled_features(network, [layer], chosen.tolist(), args):
        features.append(pooled(outputs[layer], layer).cpu().double().numpy())
        labels += batch_labels
    if not labels:
        raise LaunchError(f'{network.name}: no sample of its data set has a label.')
    return np.concatenate(features), np.array(labels)
