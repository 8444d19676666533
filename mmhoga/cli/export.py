"""``mmhoga export`` and ``mmhoga publish``: a trained network as a file for inference, or as weights to share."""

from __future__ import annotations

import argparse
import hashlib
import io
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmhoga.cli.looks.networks import load_network
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.weights import not_numbers
from mmhoga.cli.values import output_file, positive
from mmhoga.compat.checkpoint import CheckpointError, plain_checkpoint, read_checkpoint
from mmhoga.deploy import (
    Detector,
    Maps,
    TensorsOnly,
    check_detections,
    check_outputs,
    export_program,
    fuse,
    is_detector,
    run_onnx,
    takes_any_size,
    write_onnx,
)
from mmhoga.files import near_names, write_atomic
from mmhoga.hosts import LaunchError, one_paragraph
from mmhoga.insertion.places import input_channels
from mmhoga.models.hooks import find_layer

# Accepted difference of a file's outputs, as a fraction of the largest: single precision, another order of additions.
TOLERANCE = 1e-4
# What mmengine or a search needs only to resume. The averaged weights are in state_dict, as in validation.
DROPPED = ('optimizer', 'param_schedulers', 'message_hub', 'ema_state_dict', 'search')
# The keys of meta that describe the weights. Time, host name and paths of the training are left out.
KEPT = ('dataset_meta', 'cfg', 'epoch', 'iter', 'mmengine_version')


def export_main(argv: Sequence[str] | None = None) -> int:
    """Export and check a network. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Export a trained network to ONNX or torch.export, fused for inference, and check the outputs of the file.',
        'mmhoga export work_dirs/hoga-resnet18 --out model.onnx --shape 3 224 224',
    )
    parser.add_argument('model', nargs='+', metavar='MODEL', help='a work_dir, or a config and a checkpoint')
    out_help = '.onnx, or .pt2 for torch.export'
    parser.add_argument('--out', type=output_file('.onnx', '.pt2'), required=True, metavar='FILE', help=out_help)
    shape_help = 'shape of a normalised image (default: the channels that the network takes, then 224 224)'
    parser.add_argument('--shape', type=positive(int), nargs=3, metavar=('C', 'H', 'W'), help=shape_help)
    parser.add_argument('--part', default='', metavar='NAME', help='export only this module, such as backbone')
    parser.add_argument('--no-fuse', action='store_true', help='export the network without fusing it')
    maps_help = 'of a detector, export the outputs of its head instead of boxes, scores and labels'
    parser.add_argument('--head-maps', action='store_true', help=maps_help)
    size_help = 'the file takes images of --shape only, instead of any height and width'
    parser.add_argument('--fixed-size', action='store_true', help=size_help)
    add_config_options(parser)
    return run(lambda: _export(parser.parse_args(argv)))


def _export(args: argparse.Namespace) -> None:
    """Fuse a network, write it, and compare the file with the network for several numbers and sizes of images."""
    part = load_network(args.model, options=args.cfg_options).model
    if args.part:
        try:
            part = find_layer(part, args.part)
        except ValueError as error:
            raise LaunchError(f'--part {args.part}: {error}') from error
    name, model = type(part).__name__, _function(part, args.head_maps).eval()
    check = check_detections if isinstance(model, Detector) else check_outputs
    channels, height, width = args.shape or (input_channels(part), 224, 224)
    torch.manual_seed(0)
    example = torch.randn(2, channels, height, width)
    with torch.no_grad():
        try:
            model(example)
        except Exception as error:
            raise LaunchError(
                f'{name} does not run on a tensor of {tuple(example.shape)} alone: {one_paragraph(error)} '
                'If --shape is right, the model needs more than images. Export a part of it, such as --part backbone.'
            ) from error
        try:
            run_file, any_size = _write(model if args.no_fuse else _fused(model, example), example, args)
        except Exception as error:
            raise LaunchError(
                f'{name} cannot be exported: {textwrap.shorten(one_paragraph(error), 500)} --no-fuse and --part NAME '
                'export less. MMHOGA_DEBUG=1 shows the traceback.'
            ) from error
        shapes = [(images, channels, height, width) for images in (1, 2, 3)]
        if any_size:
            shapes.append((1, channels, height + 32, width + 13))
        for shape in shapes:
            x = torch.randn(shape)
            try:
                check(run_file(x), model(x), TOLERANCE)
            except AssertionError as error:
                raise LaunchError(f'{args.out} was written, but its outputs for {shape} differ: {error}') from error
    others = f' and for {height + 32} x {width + 13}' if any_size else ''
    print(
        f"{args.out}: outputs for 1, 2 and 3 images of {height} x {width}{others} equal the model's to "
        f'{TOLERANCE:g} of the largest. The file takes {"any" if any_size else "only this"} height and width.'
    )


def _function(part: nn.Module, head_maps: bool) -> nn.Module:
    """The network as a function of images: a whole detector returns boxes, everything else what its layers compute."""
    if head_maps or not hasattr(part, 'data_preprocessor') or not is_detector(part):
        return TensorsOnly(part)
    try:
        return Detector(part)
    except ValueError as error:
        raise LaunchError(
            f'{type(part).__name__} cannot be exported with its boxes: {error} Export the outputs of its head with '
            '--head-maps, or its features with --part backbone.'
        ) from error


def _fused(model: nn.Module, example: Tensor) -> nn.Module:
    return fuse(Maps(model), example).detector if isinstance(model, Detector) else fuse(model, example)


def _write(model: nn.Module, example: Tensor, args: argparse.Namespace) -> tuple[Callable[[Tensor], Any], bool]:
    """Write the file, and return a function that runs it and whether it takes images of any size."""
    program = export_program(model, example, any_size=not args.fixed_size)
    any_size = takes_any_size(program)
    if args.out.suffix == '.onnx':
        write_onnx(program, args.out, getattr(model, 'output_names', None))
        return partial(run_onnx, args.out), any_size
    content = io.BytesIO()
    torch.export.save(program, content)
    write_atomic(args.out, content.getvalue())
    return torch.export.load(str(args.out)).module(), any_size


def publish_main(argv: Sequence[str] | None = None) -> int:
    """Write the file and print its path. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Strip a checkpoint to its weights and their description, and name the file by its hash.',
        'mmhoga publish work_dirs/hoga-resnet18/epoch_10.pth --out hoga-resnet18.pth',
    )
    parser.add_argument('checkpoint', type=Path, help='a checkpoint of a training or a search')
    out_help = 'the file is called NAME-HASH.pth, with the first 8 digits of its SHA-256'
    parser.add_argument('--out', type=output_file('.pth'), required=True, metavar='NAME.pth', help=out_help)
    args = parser.parse_args(argv)
    return run(lambda: print(publish(args.checkpoint, args.out)))


def publish(source: Path, out: Path) -> Path:
    """Write the file atomically and return its path. Equal weights and meta give the same file and hash.

    Raises:
        LaunchError: the checkpoint is missing or has no weights, or the file cannot be written.
    """
    if not source.is_file():
        raise LaunchError(f'there is no checkpoint {source}.{near_names(source)}')
    try:
        loaded = read_checkpoint(source, 'cpu')
    except CheckpointError as error:
        raise LaunchError(str(error)) from error
    weights = loaded.get('state_dict') if isinstance(loaded, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise LaunchError(f'{source} has no weights: there is no "state_dict" in it.')
    if problem := not_numbers(weights):
        raise LaunchError(f'{source}: {problem}')
    # Without gradients, and without the rest of a tensor that is a view.
    weights = {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in weights.items()}
    meta = loaded.get('meta')
    meta = {key: meta[key] for key in KEPT if key in meta} if isinstance(meta, dict) else {}
    others = {key: value for key, value in loaded.items() if key not in (*DROPPED, 'meta', 'state_dict')}
    content = io.BytesIO()
    torch.save(plain_checkpoint({'meta': meta, 'state_dict': weights, **others}), content)
    path = out.with_name(f'{out.stem}-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth')
    try:
        write_atomic(path, content.getvalue())
    except OSError as error:
        raise LaunchError(f'{path} cannot be written: {error.strerror}.') from error
    return path
