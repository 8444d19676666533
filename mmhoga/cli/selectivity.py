"""``mmhoga selectivity``: the class selectivity index of every channel over a data set (supplement, Fig. 1)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size, init_dist, is_main_process
from torch import Tensor

from mmhoga.cli.looks.arguments import add_dataset_arguments, look_parser, save_look
from mmhoga.cli.looks.networks import TrainedNetwork, load_networks
from mmhoga.cli.looks.pictures import labelled_features
from mmhoga.cli.run import distributed
from mmhoga.cli.run.errors import run
from mmhoga.figures.feature_figures import selectivity_figure
from mmhoga.hosts import LaunchError
from mmhoga.look.outputs import pooled
from mmhoga.look.selectivity import ClassMeans


def selectivity_main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = look_parser(
        'Measure how selective each channel is for one class, and draw the distribution per layer.',
        'mmhoga selectivity --model HOGA work_dirs/demo/hoga-searched-seed0 --out selectivity.png',
    )
    add_dataset_arguments(parser)
    parser.add_argument('--layers', nargs='+', metavar='NAME', help='layers to measure (default: every stage)')
    parser.add_argument('--skip-empty-classes', action='store_true', help='leave out classes without images')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='what started the processes'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    return run(lambda: _draw(args), ValueError, OSError)


def _draw(args: argparse.Namespace) -> None:
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
    curves, arrays, results = {}, {}, []
    for name, layers in means.items():
        index = {layer: one.selectivity(skip_empty=True).numpy() for layer, one in layers.items()}
        curves[name] = {layer.removeprefix('backbone.'): values for layer, values in index.items()}
        for layer, one in layers.items():
            arrays[f'{name}/{layer}/selectivity'] = index[layer]
            arrays[f'{name}/{layer}/class_sums'] = one.sums.numpy()  # type: ignore[union-attr]
            arrays[f'{name}/{layer}/class_counts'] = one.counts.numpy()
        results.append(
            {
                'model': name,
                'images': int(one.counts.sum()),
                'classes_without_images': one.empty_classes,
                'mean_selectivity': {layer: float(values.mean()) for layer, values in index.items()},
            }
        )
    save_look(args, 'selectivity', networks, selectivity_figure(curves), arrays, results=results)


def _class_means(network: TrainedNetwork, args: argparse.Namespace) -> dict[str, ClassMeans]:
    """The mean activity per class and channel of every layer; each process runs its share of the images."""
    layers = args.layers or network.stages()
    names: Sequence[str] = network.dataset.metainfo.get('classes') or network.classes
    if not names:
        raise LaunchError(f'{network.name}: neither its data set (metainfo) nor its checkpoint names the classes.')
    means = {layer: ClassMeans(len(names)) for layer in layers}
    share = range(get_rank(), len(network.dataset), get_world_size())
    features: dict[str, Tensor]
    for features, labels in labelled_features(network, layers, share, args):
        for layer, output in features.items():
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
