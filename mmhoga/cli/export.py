"""What tools/deployment/export.py does: fuse a trained network, write it, and check what was written."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import DictAction
from torch import Tensor, nn

from mmhoga.cli.looks.networks import config_and_checkpoint, load_network
from mmhoga.cli.run.errors import run
from mmhoga.deploy import disagreement, export_onnx, export_program, fuse, run_onnx
from mmhoga.deploy.export import TensorsOnly
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError

_EPILOG = 'Mistakes end in one line and exit code 2; MMHOGA_DEBUG=1 shows where they were found.'
# What single precision leaves of a network's outputs after another order of additions.
TOLERANCE = 1e-4


def export_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_args(argv)

    def checked() -> None:
        try:
            export(args)
        except (ValueError, ImportError, OSError) as error:
            if os.environ.get('MMHOGA_DEBUG'):
                raise
            raise LaunchError(str(error)) from error

    return run(checked)


def export(args: argparse.Namespace) -> None:
    """Fuse, write, read again, compare on other numbers of images than the example's, print what came out.

    Raises:
        LaunchError: bad arguments, or a file whose outputs are not the model's.
    """
    out = Path(args.out)
    if out.suffix not in WRITERS:
        raise LaunchError(f'--out {out}: the suffix says what to write, {" or ".join(WRITERS)}.')
    if not out.parent.is_dir():
        raise LaunchError(f'--out {out}: there is no folder {out.parent}.')
    if len(args.shape) != 3:
        raise LaunchError(f'--shape takes channels, height and width, not {len(args.shape)} numbers.')
    subject = load_network('model', *config_and_checkpoint(args.model), options=args.cfg_options)
    model = TensorsOnly(_part(subject.model, args.part))
    torch.manual_seed(0)
    example = torch.randn(2, *args.shape)
    exported = model if args.no_fuse else fuse(model, example)
    runs = WRITERS[out.suffix](exported, example, out)
    for images in (1, 2, 3):
        x = torch.randn(images, *args.shape)
        with torch.no_grad():
            error = disagreement(model(x), runs(x))
        if not error <= TOLERANCE:
            raise LaunchError(f'{out} was written, but for {images} images its outputs differ by {error:.2g}.')
    print(f"{out}: outputs for 1, 2 and 3 images equal the model's, to {error:.1g} of their largest")


def _write_onnx(model: nn.Module, example: Tensor, out: Path) -> Callable[[Tensor], Sequence[Tensor] | Tensor]:
    export_onnx(model, example, out)
    return lambda x: run_onnx(out, x)


def _write_program(model: nn.Module, example: Tensor, out: Path) -> Callable[[Tensor], Sequence[Tensor] | Tensor]:
    buffer = io.BytesIO()
    torch.export.save(export_program(model, example), buffer)
    write_atomic(out, buffer.getvalue())
    return torch.export.load(str(out)).module()


#: By suffix: writes a file, and returns what runs it.
WRITERS = {'.onnx': _write_onnx, '.pt2': _write_program}


def _part(model: nn.Module, name: str | None) -> nn.Module:
    if name is None:
        return model
    try:
        return model.get_submodule(name)
    except AttributeError:
        parts = ', '.join(child for child, _ in model.named_children())
        raise LaunchError(f'--part {name}: {type(model).__name__} has no such part, but: {parts}.') from None


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=__doc__, epilog=_EPILOG)
    result.add_argument(
        'model', nargs='+', metavar='WORK_DIR | CONFIG CHECKPOINT', help='a work_dir, or a config and a checkpoint'
    )
    result.add_argument('--out', required=True, metavar='FILE', help='FILE.onnx, or FILE.pt2 for torch.export')
    result.add_argument(
        '--shape',
        type=int,
        nargs='+',
        default=[3, 224, 224],
        metavar='N',
        help='channels, height and width of the (normalised) images (default: 3 224 224)',
    )
    result.add_argument('--part', metavar='NAME', help="a part of the model, as backbone: a detector's features")
    result.add_argument('--no-fuse', action='store_true', help='export the network as it is')
    result.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override keys of the config'
    )
    return result
