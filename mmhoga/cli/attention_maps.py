"""``mmhoga attention-maps``: the gates that a HOGA cell computes for an image, edge by edge and node by node."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmhoga.cli.looks.arguments import add_image_arguments, figure_record, look_parser, run_command
from mmhoga.cli.looks.networks import config_and_checkpoint, load_network
from mmhoga.cli.looks.pictures import batch, display, requested_pictures
from mmhoga.figures.look_figures import attention_figure
from mmhoga.figures.styles import file_style, save_figure
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
    return run_command(_draw, parser.parse_args(argv))


def _draw(args: argparse.Namespace) -> list[Path]:
    paths = config_and_checkpoint(args.model)
    network = load_network('model', *paths, options=args.cfg_options, device=args.device)
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
    record = figure_record(
        'attention-maps',
        [network],
        cell=cell,
        genotype=maps.genotype.to_dict(),
        images=titles,
        mean_gates={edge: gate.mean((1, 2, 3)).tolist() for edge, gate in gates.items()},
    )
    return save_figure(args.out, figure, arrays, record)
