"""The gates that a HOGA computes for an image, edge by edge and node by node, over the image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmhoga.cli.looks.arguments import add_image_arguments, call, facts, parser, pictures
from mmhoga.cli.looks.pictures import batch, display
from mmhoga.cli.looks.subjects import found, load_subject
from mmhoga.figures.attention_figure import attention_figure
from mmhoga.figures.figure_files import file_style, save_figure
from mmhoga.genotype import edge_name
from mmhoga.look.attention_maps import attention_maps, hoga_cells


def attention_maps_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    result = parser(__doc__, single=True)
    add_image_arguments(result, default=1)
    result.add_argument('--layer', help='the cell, as backbone.layer1.0.hoga (default: the first)')
    return call(_run, result.parse_args(argv))


def _run(args: argparse.Namespace) -> list[Path]:
    subject = load_subject('model', *found('model', args.model), options=args.cfg_options, device=args.device)
    cell = args.layer or hoga_cells(subject.model)[0]
    shown = pictures(args, subject)
    if len({picture.size for picture in shown}) > 1:
        raise ValueError('The images have different sizes after the pipeline: give them one by one.')
    inputs, _ = batch(subject, shown)
    images = [display(subject, picture) for picture in shown]
    maps = attention_maps(subject.model, inputs, cell, lambda x: subject.forward(x, [cell]))
    with file_style():
        figure = attention_figure(maps, images, [picture.title for picture in shown], cell, inputs.shape[-2:])
    arrays = {f'gate/{edge_name(*edge)}': gate.cpu().numpy() for edge, gate in maps.gates.items()}
    arrays.update(
        nodes=maps.nodes.cpu().numpy(),
        summary_gate=maps.summary_gate.cpu().numpy(),
        output_gate=maps.output_gate.cpu().numpy(),
        images=np.stack(images),
    )
    means = {edge_name(*edge): gate.mean((1, 2, 3)).tolist() for edge, gate in maps.gates.items()}
    what = facts(
        'attention_maps',
        [subject],
        cell=cell,
        genotype=maps.genotype.to_dict(),
        images=[picture.title for picture in shown],
        mean_gates=means,
    )
    return save_figure(args.out, figure, arrays, what)
