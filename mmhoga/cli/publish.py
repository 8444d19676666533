"""``mmhoga publish``: strip a checkpoint to its weights and their description, for others to load."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.parser import command_parser
from mmhoga.cli.values import output_file
from mmhoga.compat import allow_mmengine_checkpoints
from mmhoga.files import near_names, write_atomic
from mmhoga.hosts import LaunchError

# What mmengine or a search needs only to resume. The averaged weights are in state_dict, as in validation.
DROPPED = ('optimizer', 'param_schedulers', 'message_hub', 'ema_state_dict', 'search')
# The keys of meta that describe the weights. Time, host name and paths of the training are left out.
KEPT = ('dataset_meta', 'cfg', 'epoch', 'iter', 'mmengine_version')


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
        LaunchError: the checkpoint is missing or has no weights.
    """
    if not source.is_file():
        raise LaunchError(f'there is no checkpoint {source}.{near_names(source)}')
    allow_mmengine_checkpoints()
    try:
        loaded = torch.load(source, map_location='cpu')
    except Exception as error:  # the exception depends on where torch's reader fails; its advice is to read unsafely
        raise LaunchError(
            f'{source} cannot be read as a checkpoint: it is damaged, or contains more than weights and plain data '
            f'({type(error).__name__}). MMHOGA_DEBUG=1 shows the traceback.'
        ) from error
    weights = loaded.get('state_dict') if isinstance(loaded, dict) else None
    if not weights:
        raise LaunchError(f'{source} has no weights: there is no "state_dict" in it.')
    # Without gradients, and without the rest of a tensor that is a view.
    weights = {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in weights.items()}
    meta = {key: value for key, value in (loaded.get('meta') or {}).items() if key in KEPT}
    others = {key: value for key, value in loaded.items() if key not in (*DROPPED, 'meta', 'state_dict')}
    content = io.BytesIO()
    torch.save({'meta': meta, 'state_dict': weights, **others}, content)
    path = out.with_name(f'{out.stem}-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth')
    write_atomic(path, content.getvalue())
    return path
