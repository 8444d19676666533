"""Grad-CAM and guided back-propagation side by side: images as rows, networks as columns (paper, Fig. 4)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmhoga.cli.looks.arguments import add_image_arguments, call, facts, parser, pictures
from mmhoga.cli.looks.pictures import Picture, batch, display
from mmhoga.cli.looks.subjects import Subject, load_subjects
from mmhoga.figures.attribution_figure import Attribution, attribution_figure
from mmhoga.figures.figure_files import save_figure
from mmhoga.look.class_scores import pick
from mmhoga.look.feature_maps import upsample
from mmhoga.look.grad_cam import grad_cam
from mmhoga.look.guided_backprop import guided_backprop
from mmhoga.models.hooks import undisturbed


def grad_cam_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    result = parser(__doc__)
    add_image_arguments(result, default=5)
    result.add_argument('--layer', help='of Grad-CAM, as backbone.layer4 (default: the last stage of a ResNet)')
    result.add_argument(
        '--class',
        dest='target',
        type=int,
        metavar='N',
        help="number of the class to ask for (default: the sample's, else what the network predicts)",
    )
    return call(_run, result.parse_args(argv))


def _run(args: argparse.Namespace) -> list[Path]:
    subjects = load_subjects(args.model, args.cfg_options, args.device)
    images: list[np.ndarray] = []
    titles: list[str] = []
    networks: dict[str, list[Attribution]] = {}
    arrays: dict[str, np.ndarray] = {}
    found = []
    for subject in subjects:
        shown = pictures(args, subject)
        if not images:
            images = [display(subject, picture) for picture in shown]
            titles = [_title(subject, picture) for picture in shown]
            arrays.update({f'image/{index}': image for index, image in enumerate(images)})
        layer = args.layer or subject.default_layers()[-1]
        records = [explain(subject, picture, layer, args.target) for picture in shown]
        networks[subject.name] = [attribution for attribution, _ in records]
        found.append({'model': subject.name, 'layer': layer, 'images': [record for _, record in records]})
        for index, attribution in enumerate(networks[subject.name]):
            arrays[f'{subject.name}/grad_cam/{index}'] = attribution.cam
            arrays[f'{subject.name}/guided/{index}'] = attribution.guided
    figure = attribution_figure(images, titles, networks)
    what = facts('grad_cam', subjects, images=[picture.title for picture in shown], results=found)
    return save_figure(args.out, figure, arrays, what)


def explain(subject: Subject, picture: Picture, layer: str, target: int | None) -> tuple[Attribution, dict[str, Any]]:
    """One image, one network: the maps at the size of the image, and the numbers."""
    inputs, samples = batch(subject, [picture])

    def scores(x: torch.Tensor) -> torch.Tensor:
        return subject.scores(x, samples)

    wanted = picture.label if target is None else target
    with undisturbed(subject.model), torch.no_grad():
        every = scores(inputs)
    score, chosen = pick(every, None if wanted is None else [wanted])
    classes = chosen.tolist()
    height, width = picture.size
    cam = grad_cam(subject.model, inputs, layer, classes, scores=scores)
    # The input may be padded at the right and at the bottom.
    cam = upsample(cam, inputs.shape[-2:])[0, :height, :width]
    guided = guided_backprop(subject.model, inputs, classes, scores=scores)[0, :, :height, :width]
    name = class_name(subject, classes[0])
    record = {'class': classes[0], 'score': float(score), 'predicted': int(every.argmax())}
    if subject.gives_probabilities:
        record['probability'] = float(every.softmax(1)[0, classes[0]])
        caption = f'{name}: {record["probability"]:.3f}'
    else:
        caption = f'{name}: score {record["score"]:.2f}'
    if record['predicted'] != classes[0]:
        caption += f' (says {class_name(subject, record["predicted"])})'
    return Attribution(cam.cpu().numpy(), guided.cpu().numpy(), caption), record


def class_name(subject: Subject, index: int) -> str:
    return subject.classes[index] if index < len(subject.classes) else f'class {index}'


def _title(subject: Subject, picture: Picture) -> str:
    return picture.title if picture.label is None else f'{picture.title}: {class_name(subject, picture.label)}'
