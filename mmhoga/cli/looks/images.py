"""Figures of chosen images: ``mmhoga grad-cam`` (paper, Fig. 4) and ``mmhoga attention-maps``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch import Tensor

from mmhoga.cli.looks.networks import (
    Picture,
    TrainedNetwork,
    batch,
    load_network,
    load_networks,
    look_parser,
    save_look,
)
from mmhoga.cli.run.errors import run
from mmhoga.figures.look_figures import Attribution, attention_figure, attribution_figure
from mmhoga.figures.styles import file_style
from mmhoga.files import near_names
from mmhoga.genotype import edge_name
from mmhoga.hosts import LaunchError, config_scope
from mmhoga.insertion.places import input_channels
from mmhoga.look.attention_maps import attention_maps, hoga_cells
from mmhoga.look.grad_cam import grad_cam
from mmhoga.look.guided_backprop import guided_backprop
from mmhoga.look.outputs import pick, upsample
from mmhoga.models.hooks import undisturbed


def grad_cam_main(argv: Sequence[str] | None = None) -> int:
    """Draw Grad-CAM and guided back-propagation, images as rows, networks as columns; returns the exit code."""
    parser = look_parser(
        'Draw where a class is recognised (Grad-CAM) and which pixels raise its score (guided back-propagation).',
        'mmhoga grad-cam --model HOGA work_dirs/demo/hoga-searched-seed0 --layer backbone.layer2 --out cam.png',
    )
    _add_image_arguments(parser, default=5)
    parser.add_argument('--layer', help='layer of Grad-CAM, such as backbone.layer4 (default: the last stage)')
    class_help = "index of the class to explain (default: the sample's own, or the predicted one)"
    parser.add_argument('--class', dest='target', type=int, metavar='N', help=class_help)
    return run(lambda: _draw_grad_cam(parser.parse_args(argv)), ValueError, OSError)


def attention_maps_main(argv: Sequence[str] | None = None) -> int:
    """Draw the gates that a HOGA cell computes, edge by edge and node by node; returns the exit code."""
    parser = look_parser(
        'Draw the gates of a HOGA cell over an image, one panel per edge and node.',
        'mmhoga attention-maps work_dirs/demo/hoga-searched-seed0 --samples 0 --out attention_maps.png',
        single=True,
    )
    _add_image_arguments(parser, default=1)
    parser.add_argument('--layer', help='the cell, such as backbone.layer1.0.hoga (default: the first)')
    return run(lambda: _draw_attention_maps(parser.parse_args(argv)), ValueError, OSError)


def _add_image_arguments(parser: argparse.ArgumentParser, default: int) -> None:
    """Add ``--images`` and ``--samples``; without them a command shows ``default`` samples."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--images', nargs='+', metavar='FILE', help='image files, prepared by the test pipeline')
    text = 'the first sample' if default == 1 else f'the first of each of {default} classes'
    samples_help = f'samples of the test data set, from 0 (default: {text})'
    which.add_argument('--samples', nargs='+', type=int, metavar='N', help=samples_help)
    parser.set_defaults(default_samples=default)


def _draw_grad_cam(args: argparse.Namespace) -> None:
    networks = load_networks(args)
    first = networks[0]
    pictures = _requested_pictures(args, first)
    images = [display(first, picture) for picture in pictures]
    arrays = {f'image/{index}': image for index, image in enumerate(images)}
    attributions: dict[str, list[Attribution]] = {}
    results = []
    for network in networks:
        layer = args.layer or network.stages()[-1]
        explained = [_explain(network, picture, layer, args.target) for picture in _requested_pictures(args, network)]
        attributions[network.name] = [attribution for attribution, _ in explained]
        results.append({'model': network.name, 'layer': layer, 'images': [entry for _, entry in explained]})
        for index, attribution in enumerate(attributions[network.name]):
            arrays[f'{network.name}/grad_cam/{index}'] = attribution.cam
            arrays[f'{network.name}/guided/{index}'] = attribution.guided
    names = [picture.title for picture in pictures]
    titles = [
        name if picture.label is None else f'{name}: {first.class_name(picture.label)}'
        for name, picture in zip(names, pictures)
    ]
    figure = attribution_figure(images, titles, attributions)
    save_look(args, networks, figure, arrays, {'command': 'grad-cam', 'images': names, 'results': results})


def _explain(
    network: TrainedNetwork, picture: Picture, layer: str, target: int | None
) -> tuple[Attribution, dict[str, Any]]:
    """Both maps at the image's size, and the class with its score."""
    inputs, samples = batch(network, [picture])

    def scores(x: Tensor) -> Tensor:
        return network.scores(x, samples)

    if target is None:
        target = picture.label
    with undisturbed(network.model), torch.no_grad():
        all_scores = scores(inputs)
    score, chosen = pick(all_scores, None if target is None else [target])
    index, predicted = int(chosen), int(all_scores.argmax())
    height, width = picture.size
    cam = grad_cam(network.model, inputs, layer, [index], scores=scores)
    # The preprocessor may have padded the input at the right and at the bottom.
    cam = upsample(cam, inputs.shape[-2:])[0, :height, :width]
    guided = guided_backprop(network.model, inputs, [index], scores=scores)[0, :, :height, :width]
    entry = {'class': index, 'score': float(score), 'predicted': predicted}
    caption = f'{network.class_name(index)}: '
    if config_scope(network.cfg) == 'mmpretrain':  # its scores compete in one softmax
        entry['probability'] = float(all_scores.softmax(1)[0, index])
        caption += f'{entry["probability"]:.3f}'
    else:
        caption += f'score {entry["score"]:.2f}'
    if predicted != index:
        caption += f' (predicted: {network.class_name(predicted)})'
    return Attribution(cam.cpu().numpy(), guided.cpu().numpy(), caption), entry


def _draw_attention_maps(args: argparse.Namespace) -> None:
    network = load_network(args.model, options=args.cfg_options, device=args.device)
    cell = args.layer or hoga_cells(network.model)[0]
    pictures = _requested_pictures(args, network)
    if len({picture.size for picture in pictures}) > 1:
        raise LaunchError('the images have different sizes after the pipeline. Draw them one at a time.')
    inputs, _ = batch(network, pictures)
    maps = attention_maps(network.model, inputs, cell, lambda x: network.run_layers(x, [cell]))
    images, titles = [display(network, picture) for picture in pictures], [picture.title for picture in pictures]
    with file_style():
        figure = attention_figure(maps, images, titles, cell, inputs.shape[-2:])
    gates = {edge_name(*edge): gate.cpu().numpy() for edge, gate in maps.gates.items()}
    arrays = {
        **{f'gate/{edge}': gate for edge, gate in gates.items()},
        'nodes': maps.nodes.cpu().numpy(),
        'summary_gate': maps.summary_gate.cpu().numpy(),
        'output_gate': maps.output_gate.cpu().numpy(),
        'images': np.stack(images),
    }
    entries = {'command': 'attention-maps', 'cell': cell, 'genotype': maps.genotype.to_dict(), 'images': titles}
    entries['mean_gates'] = {edge: gate.mean((1, 2, 3)).tolist() for edge, gate in gates.items()}
    save_look(args, [network], figure, arrays, entries)


def _requested_pictures(args: argparse.Namespace, network: TrainedNetwork) -> list[Picture]:
    """The images of ``--images`` or ``--samples``; by default the first of each of a few classes."""
    if args.images:
        return from_files(network, args.images)
    dataset = network.dataset
    if args.samples is None:  # chosen from the first network's data set, used for all networks
        first: dict[int | None, int] = {}
        for index in range(min(len(dataset), 500)):
            first.setdefault(Picture(dataset[index], '').label, index)
            if len(first) == args.default_samples:
                break
        args.samples = sorted(first.values())
    for index in args.samples:
        if not 0 <= index < len(dataset):
            raise LaunchError(f'--samples {index}: the data set of {network.name} has samples 0 to {len(dataset) - 1}.')
    return [Picture(dataset[index], f'sample {index}') for index in args.samples]


def from_files(network: TrainedNetwork, paths: Sequence[str]) -> list[Picture]:
    """Put image files through the test pipeline, without annotations. A pose model gets the whole image as its box."""
    transforms = [step for step in _pipeline(network) if not _type_name(step).startswith('LoadAnnotations')]
    loads = any(_type_name(step).startswith('LoadImage') for step in transforms)
    with DefaultScope.overwrite_default_scope(config_scope(network.cfg)):
        pipeline = Compose(transforms)
    pictures = []
    for path in paths:
        if not Path(path).is_file():
            raise LaunchError(f'there is no image {path}.{near_names(Path(path))}')
        image = cv2.imread(path, cv2.IMREAD_COLOR)
        if image is None:
            raise LaunchError(f'{path} ({Path(path).stat().st_size} bytes) cannot be read as an image.')
        height, width = image.shape[:2]
        start = dict(img_path=path, img_id=0, ori_shape=(height, width), img_shape=(height, width))
        if not loads:
            if input_channels(network.model) == 1:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
            start['img'] = image
        if config_scope(network.cfg) == 'mmpose':
            start['bbox'] = np.array([[0, 0, width, height]], dtype=np.float32)
            start['bbox_score'] = np.ones(1, dtype=np.float32)
        pictures.append(Picture(pipeline(start), Path(path).name))
    return pictures


def display(network: TrainedNetwork, picture: Picture) -> np.ndarray:
    """The image before normalisation, in [0, 1]: ``(H, W, 3)`` RGB, or ``(H, W)`` if it has other than 3 channels."""
    image = picture.data['inputs'].float().permute(1, 2, 0).numpy()
    low, high = (0.0, 255.0) if picture.data['inputs'].dtype == torch.uint8 else (image.min(), image.max())
    image = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    if image.shape[-1] != 3:
        return image.mean(-1)
    preprocessor = network.model.data_preprocessor
    converts = getattr(preprocessor, 'to_rgb', False) or getattr(preprocessor, '_channel_conversion', False)
    bgr = converts or any(_type_name(step).startswith('LoadImage') for step in _pipeline(network))  # OpenCV's order
    return image[..., ::-1] if bgr else image


def _pipeline(network: TrainedNetwork) -> list[Any]:
    dataset = network.dataset_config
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if dataset.get('pipeline') is None:
        raise LaunchError(f'{network.cfg.filename} has no test_dataloader.dataset.pipeline to prepare images with.')
    return list(dataset['pipeline'])


def _type_name(step: Any) -> str:
    kind = step['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
