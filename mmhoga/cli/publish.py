"""What tools/publish_model.py does: a checkpoint that others can load, without what only its training needed."""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmhoga.cli.run.errors import run
from mmhoga.compat import allow_mmengine_checkpoints
from mmhoga.files import near_names, write_atomic
from mmhoga.hosts import LaunchError

# What mmengine, or a search, keeps to go on with training.
DROPPED = ('optimizer', 'param_schedulers', 'message_hub', 'ema_state_dict', 'search')
# Of meta: what tells a reader what the weights are; time, host name and paths of the training stay behind.
KEPT = ('dataset_meta', 'cfg', 'epoch', 'iter', 'mmengine_version')


def publish_main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 for bad input."""
    parser = argparse.ArgumentParser(
        description='Write NAME-HASH8.pth: the weights of a checkpoint, and what tells what they are.'
    )
    parser.add_argument('checkpoint')
    parser.add_argument(
        '--out', required=True, help='NAME.pth; the first 8 digits of its SHA-256 are added to the name'
    )
    args = parser.parse_args(argv)
    return run(lambda: print(publish(args.checkpoint, args.out)))


def publish(checkpoint: str | Path, out: str | Path) -> Path:
    """Write the file whole or not at all, and return its path.

    The weights are those that validation and ``tools/test.py`` see: averaged ones, if the training averaged them. The
    same weights and meta give the same file and hash.

    Raises:
        LaunchError: no checkpoint there, one without weights, or a place that cannot be written.
    """
    source, target = Path(checkpoint), Path(out)
    if not source.is_file():
        raise LaunchError(f'there is no checkpoint {source}.{near_names(source)}')
    if target.suffix != '.pth':
        raise LaunchError(f'--out {target}: a checkpoint ends in .pth.')
    content = io.BytesIO()
    torch.save(_published(source), content)
    data = content.getvalue()
    path = target.with_name(f'{target.stem}-{hashlib.sha256(data).hexdigest()[:8]}.pth')
    try:
        write_atomic(path, data)
    except OSError as error:
        raise LaunchError(f'{path} cannot be written: {error.strerror}.') from error
    return path


def _published(source: Path) -> dict[str, Any]:
    allow_mmengine_checkpoints()
    try:
        loaded = torch.load(source, map_location='cpu')
    except Exception as error:  # torch raises whatever its unpickler, or the zip reader, met
        raise LaunchError(f'{source} is no checkpoint that can be read: {error}') from error
    weights = loaded.get('state_dict') if isinstance(loaded, dict) else None
    if not weights:
        raise LaunchError(f'{source} holds no weights: there is no "state_dict" in it.')
    kept = {key: value for key, value in loaded.items() if key not in (*DROPPED, 'meta', 'state_dict')}
    meta = {key: value for key, value in loaded.get('meta', {}).items() if key in KEPT}
    # Gradients and views stay behind; one order of keys for one hash.
    return {'meta': meta, 'state_dict': {key: value.detach().clone() for key, value in weights.items()}, **kept}
