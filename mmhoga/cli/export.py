"""``mmhoga export``: write a trained network as an ONNX file or a torch.export program, and check the file."""

from __future__ import annotations

import argparse
import io
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmhoga.cli.flops import input_channels
from mmhoga.cli.looks.networks import config_and_checkpoint, load_network
from mmhoga.cli.numbers import positive
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.deploy import TensorsOnly, check_outputs, export_onnx, export_program, fuse, run_onnx
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError, one_paragraph

# Accepted difference of a file's outputs, as a fraction of the largest: single precision, another order of additions.
TOLERANCE = 1e-4


def export_main(argv: Sequence[str] | None = None) -> int:
    """Export and check a network. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Export a trained network to ONNX or torch.export, fused for inference, and check the outputs of the file.',
        'mmhoga export work_dirs/hoga-resnet18 --out model.onnx --shape 3 224 224',
    )
    parser.add_argument('model', nargs='+', metavar='MODEL', help='a work_dir, or a config and a checkpoint')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='.onnx, or .pt2 for torch.export')
    shape_help = 'shape of a normalised image (default: the channels that the network takes, then 224 224)'
    parser.add_argument('--shape', type=positive(int), nargs=3, metavar=('C', 'H', 'W'), help=shape_help)
    parser.add_argument('--part', metavar='NAME', help='export only this module, such as backbone')
    parser.add_argument('--no-fuse', action='store_true', help='export the network without fusing it')
    add_config_options(parser)
    args = parser.parse_args(argv)
    return run(lambda: export(args))


def export(args: argparse.Namespace) -> None:
    """Fuse a network, write it, and compare the file with the network for batches of one, two and three images.

    Raises:
        LaunchError: bad arguments, a network that cannot be exported, or a file with other outputs.
    """
    out: Path = args.out
    if out.suffix not in WRITERS:
        raise LaunchError(f'--out {out}: the name must end in {" or ".join(WRITERS)}.')
    if not out.parent.is_dir():
        raise LaunchError(f'--out {out}: there is no folder {out.parent}.')
    network = load_network('model', *config_and_checkpoint(args.model), options=args.cfg_options)
    part = _part(network.model, args.part)
    name = type(part).__name__
    model = TensorsOnly(part).eval()
    shape = args.shape or (input_channels(part), 224, 224)
    torch.manual_seed(0)
    example = torch.randn(2, *shape)
    with torch.no_grad():
        try:
            model(example)
        except Exception as error:
            raise LaunchError(
                f'{name} does not run on a tensor of {tuple(example.shape)} alone: {one_paragraph(error)} '
                'If --shape is right, the model needs more than images, as two-stage detectors do. Export a part of '
                'it, such as --part backbone.'
            ) from error
        try:
            run_file = WRITERS[out.suffix](model if args.no_fuse else fuse(model, example), example, out)
        except Exception as error:
            raise LaunchError(
                f'{name} cannot be exported: {textwrap.shorten(one_paragraph(error), 500)} --no-fuse and --part NAME '
                'export less. MMHOGA_DEBUG=1 shows the traceback.'
            ) from error
        for images in (1, 2, 3):
            x = torch.randn(images, *shape)
            try:
                check_outputs(run_file(x), model(x), TOLERANCE)
            except AssertionError as error:
                raise LaunchError(f'{out} was written, but its outputs for {images} images differ: {error}') from error
    print(f"{out}: outputs for 1, 2 and 3 images equal the model's to {TOLERANCE:g} of the largest")


def _write_onnx(model: nn.Module, example: Tensor, out: Path) -> Callable[[Tensor], Any]:
    export_onnx(model, example, out)
    return partial(run_onnx, out)


def _write_program(model: nn.Module, example: Tensor, out: Path) -> Callable[[Tensor], Any]:
    buffer = io.BytesIO()
    torch.export.save(export_program(model, example), buffer)
    write_atomic(out, buffer.getvalue())
    return torch.export.load(str(out)).module()


#: Suffix -> function that writes a file and returns a function that runs it.
WRITERS = {'.onnx': _write_onnx, '.pt2': _write_program}


def _part(model: nn.Module, name: str | None) -> nn.Module:
    try:
        return model if name is None else model.get_submodule(name)
    except AttributeError:
        parts = ', '.join(child for child, _ in model.named_children())
        raise LaunchError(f'--part {name}: {type(model).__name__} has no such module. It has {parts}.') from None
