"""The class selectivity index of every channel over a data set, as overlaid distributions (supplement, Fig. 1)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size, init_dist, is_main_process

from mmhoga.cli.looks.arguments import add_dataset_arguments, call, facts, parser
from mmhoga.cli.looks.pictures import batches
from mmhoga.cli.looks.subjects import Subject, load_subjects
from mmhoga.cli.run import distributed
from mmhoga.figures.feature_figures import selectivity_figure
from mmhoga.figures.figure_files import save_figure
from mmhoga.hosts import LaunchError
from mmhoga.look.feature_maps import pooled
from mmhoga.look.selectivity import ClassMeans
from mmhoga.models.hooks import captured, find_layer, output_of, undisturbed


def selectivity_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    result = parser(__doc__)
    add_dataset_arguments(result)
    result.add_argument('--layers', nargs='+', metavar='NAME', help='default: layer1, layer2, ... of a ResNet')
    result.add_argument('--skip-empty-classes', action='store_true', help='go by the classes that have images')
    result.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    result.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return call(_run, result.parse_args(argv))


def _run(args: argparse.Namespace) -> list[Path]:
    subjects = load_subjects(args.model, args.cfg_options, args.device)
    try:
        if args.launcher != 'none':
            if distributed.has_accelerator():
                init_dist(args.launcher)
            else:
                subjects[0].cfg.launcher = args.launcher
                distributed.prepare(subjects[0].cfg)
        measured = {subject.name: measure(subject, args) for subject in subjects}
        if not is_main_process():
            return []
    finally:
        distributed.leave()
    networks, arrays, found = {}, {}, []
    for name, layers in measured.items():
        networks[name] = {layer.removeprefix('backbone.'): index.numpy() for layer, (_, index) in layers.items()}
        for layer, (means, index) in layers.items():
            arrays[f'{name}/{layer}/selectivity'] = index.numpy()
            arrays[f'{name}/{layer}/class_sums'] = _numpy(means.sums)
            arrays[f'{name}/{layer}/class_counts'] = means.counts.numpy()
        means = next(iter(layers.values()))[0]
        found.append(
            {
                'model': name,
                'images': int(means.counts.sum()),
                'classes_without_images': means.empty_classes,
                'mean_selectivity': {layer: float(index.mean()) for layer, (_, index) in layers.items()},
            }
        )
    return save_figure(args.out, selectivity_figure(networks), arrays, facts('selectivity', subjects, results=found))


def measure(subject: Subject, args: argparse.Namespace) -> dict[str, tuple[ClassMeans, torch.Tensor]]:
    """Sums and index of every layer; each process takes its share of the images."""
    layers = args.layers or subject.default_layers()
    for layer in layers:
        find_layer(subject.model, layer)
    dataset = subject.dataset()
    names = dataset.metainfo.get('classes') or subject.classes
    if not names:
        raise LaunchError(f'{subject.name}: its data set does not tell its classes (metainfo).')
    means = {layer: ClassMeans(len(names)) for layer in layers}
    share = range(get_rank(), len(dataset), get_world_size())
    with undisturbed(subject.model), captured(subject.model, layers) as outputs, torch.no_grad():
        for inputs, _, pictures in batches(subject, batch_size=args.batch_size, workers=args.workers, indices=share):
            labels = [picture.label for picture in pictures]
            kept = [index for index, label in enumerate(labels) if label is not None]
            subject.forward(inputs, layers)
            for layer in layers:
                activity = pooled(output_of(outputs, layer).relu(), layer)
                means[layer].update(activity[kept], [labels[index] for index in kept])  # type: ignore[misc]
    result = {}
    for layer, one in means.items():
        one.reduce_over_processes()
        empty = one.empty_classes
        if empty and not args.skip_empty_classes:
            some = ', '.join(f'{names[index]} ({index})' for index in empty[:8])
            raise LaunchError(
                f'{subject.name}: {len(empty)} of {len(names)} classes have no image in the data set: {some}'
                f'{", ..." if empty[8:] else ""}. Give one that has all, or add --skip-empty-classes.'
            )
        result[layer] = (one, one.selectivity(skip_empty=True))
    return result


def _numpy(tensor: torch.Tensor | None) -> np.ndarray:
    return np.zeros((0, 0)) if tensor is None else tensor.numpy()
