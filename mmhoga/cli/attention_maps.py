"""``mmhoga attention-maps``: the gates that a HOGA cell computes for an image, edge by edge and node by node."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from mmhoga.cli.looks.arguments import add_image_arguments, look_parser, save_look
from mmhoga.cli.looks.networks import load_network
from mmhoga.cli.looks.pictures import batch, display, requested_pictures
from mmhoga.cli.run.errors import run
from mmhoga.figures.attention_figure import attention_figure
from mmhoga.figures.figure_files import file_style
from mmhoga.genotype import edge_name
from mmhoga.look.attention_maps import attention_maps, hoga_cells


def attention_maps_main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = look_parser(
        'Draw the gates of a HOGA cell over an image, one panel per edge and node.',
        'mmhoga attention-maps work_dirs/demo/hoga-searched-seed0 --samples 0 --out attention_maps.png',
        single=True,
    )
    add_image_arguments(parser, default=1)
    parser.add_argument('--layer', help='the cell, such as backbone.layer1.0.hoga (default: the first)')
    args = parser.parse_args(argv)
    return run(lambda: _draw(args), ValueError, OSError)


def _draw(args: argparse.Namespace) -> None:
    network = load_network(args.model, options=args.cfg_options, device=args.device)
    cell = args.layer or hoga_cells(network.model)[0]
    pictures = requested_pictures(args, network)
    if len({picture.size for picture in pictures}) > 1:
        raise ValueError('the images have different sizes after the pipeline. Draw them one at a time.')
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
    entries = dict(
        cell=cell,
        genotype=maps.genotype.to_dict(),
        images=titles,
        mean_gates={edge: gate.mean((1, 2, 3)).tolist() for edge, gate in gates.items()},
    )
    save_look(args, 'attention-maps', [network], figure, arrays, **entries)
