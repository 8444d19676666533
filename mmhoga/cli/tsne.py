"""Barnes-Hut t-SNE of a layer's features, coloured by class, networks side by side (supplement, Fig. 2)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmhoga.cli.looks.arguments import add_dataset_arguments, call, facts, parser
from mmhoga.cli.looks.pictures import batches
from mmhoga.cli.looks.subjects import Subject, load_subjects
from mmhoga.figures.feature_figures import tsne_figure
from mmhoga.figures.figure_files import save_figure
from mmhoga.hosts import LaunchError
from mmhoga.look.feature_maps import pooled
from mmhoga.look.tsne import embed, neighbour_score
from mmhoga.models.hooks import captured, find_layer, output_of, undisturbed


def tsne_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    result = parser(__doc__)
    add_dataset_arguments(result)
    result.add_argument('--layer', help='as backbone.layer3 (default: the last stage of a ResNet)')
    result.add_argument('--max-samples', type=int, default=2000, help='a random choice of so many (default: 2000)')
    result.add_argument('--perplexity', type=float, default=30.0)
    result.add_argument('--seed', type=int, default=0)
    return call(_run, result.parse_args(argv))


def _run(args: argparse.Namespace) -> list[Path]:
    subjects = load_subjects(args.model, args.cfg_options, args.device)
    networks: dict[str, tuple[np.ndarray, float]] = {}
    arrays: dict[str, np.ndarray] = {}
    found = []
    labels = np.zeros(0, dtype=np.int64)
    for subject in subjects:
        layer = args.layer or subject.default_layers()[-1]
        features, own = collect(subject, layer, args)
        if len(labels) and not np.array_equal(labels, own):
            raise LaunchError(f'{subject.name} and {subjects[0].name} were tested on different data.')
        labels = own
        points = embed(features, perplexity=args.perplexity, seed=args.seed)
        score = neighbour_score(points, labels)
        networks[subject.name] = (points, score)
        arrays[f'{subject.name}/points'], arrays[f'{subject.name}/features'] = points, features
        found.append(
            {
                'model': subject.name,
                'layer': layer,
                'neighbour_score': score,
                'neighbour_score_of_features': neighbour_score(features, labels),
            }
        )
    arrays['labels'] = labels
    classes = subjects[0].classes or tuple(map(str, range(int(labels.max()) + 1)))
    settings = {'perplexity': args.perplexity, 'seed': args.seed, 'images': len(labels)}
    figure = tsne_figure(networks, labels, classes)
    return save_figure(args.out, figure, arrays, facts('tsne', subjects, **settings, results=found))


def collect(subject: Subject, layer: str, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """A layer's features, each channel's mean over the image, ``(N, C)``, and the labels ``(N,)``."""
    find_layer(subject.model, layer)
    total = len(subject.dataset())
    chosen = np.arange(total)
    if args.max_samples < total:
        chosen = np.sort(np.random.default_rng(args.seed).choice(total, args.max_samples, replace=False))
    features, labels = [], []
    with undisturbed(subject.model), captured(subject.model, [layer]) as outputs, torch.no_grad():
        for inputs, _, pictures in batches(
            subject, batch_size=args.batch_size, workers=args.workers, indices=chosen.tolist()
        ):
            subject.forward(inputs, [layer])
            values = pooled(output_of(outputs, layer), layer).cpu().double().numpy()
            for value, picture in zip(values, pictures):
                if picture.label is not None:
                    features.append(value)
                    labels.append(picture.label)
    if not labels:
        raise LaunchError(f'{subject.name}: the samples of its data set have no labels.')
    return np.stack(features), np.array(labels)
