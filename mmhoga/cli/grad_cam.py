"""``mmhoga grad-cam``: Grad-CAM and guided back-propagation, images as rows, networks as columns (paper, Fig. 4)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmhoga.cli.looks.arguments import add_image_arguments, look_parser, save_look
from mmhoga.cli.looks.networks import TrainedNetwork, load_networks
from mmhoga.cli.looks.pictures import Picture, batch, display, requested_pictures
from mmhoga.cli.run.errors import run
from mmhoga.figures.attribution_figure import Attribution, attribution_figure
from mmhoga.look.grad_cam import grad_cam
from mmhoga.look.guided_backprop import guided_backprop
from mmhoga.look.outputs import pick, upsample
from mmhoga.models.hooks import undisturbed


def grad_cam_main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = look_parser(
        'Draw where a class is recognised (Grad-CAM) and which pixels raise its score (guided back-propagation).',
        'mmhoga grad-cam --model HOGA work_dirs/demo/hoga-searched-seed0 --layer backbone.layer2 --out cam.png',
    )
    add_image_arguments(parser, default=5)
    parser.add_argument('--layer', help='layer of Grad-CAM, such as backbone.layer4 (default: the last stage)')
    class_help = "index of the class to explain (default: the sample's own, or the predicted one)"
    parser.add_argument('--class', dest='target', type=int, metavar='N', help=class_help)
    args = parser.parse_args(argv)
    return run(lambda: _draw(args), ValueError, OSError)


def _draw(args: argparse.Namespace) -> None:
    networks = load_networks(args)
    first = networks[0]
    pictures = requested_pictures(args, first)
    images = [display(first, picture) for picture in pictures]
    arrays = {f'image/{index}': image for index, image in enumerate(images)}
    attributions: dict[str, list[Attribution]] = {}
    results = []
    for network in networks:
        layer = args.layer or network.stages()[-1]
        explained = [_explain(network, picture, layer, args.target) for picture in requested_pictures(args, network)]
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
    save_look(args, 'grad-cam', networks, figure, arrays, images=names, results=results)


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
    if network.scope == 'mmpretrain':  # its scores compete in one softmax
        entry['probability'] = float(all_scores.softmax(1)[0, index])
        caption += f'{entry["probability"]:.3f}'
    else:
        caption += f'score {entry["score"]:.2f}'
    if predicted != index:
        caption += f' (predicted: {network.class_name(predicted)})'
    return Attribution(cam.cpu().numpy(), guided.cpu().numpy(), caption), entry
