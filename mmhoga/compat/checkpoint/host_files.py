"""mmengine's checkpoints, read and written by this package.

mmengine 0.10 reads checkpoints with ``torch.load(path)``, and those of a URL with ``weights_only=False``. Before torch
2.6 both run any code in the file. With newer torch, the first refuses what mmengine itself has written.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch

from mmhoga.compat.checkpoint.containers import read_checkpoint
from mmhoga.compat.checkpoint.plain import plain_checkpoint


class _Torch(ModuleType):
    """torch with another ``load`` and ``save``, for one module of mmengine. torch itself is not changed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: Any, map_location: Any = None, **_: Any) -> Any:
        folder = Path(file).parent if isinstance(file, (str, os.PathLike)) else None
        return without_instructions(read_checkpoint(file, map_location), folder)

    @staticmethod
    def save(content: Any, file: Any, **options: Any) -> None:
        torch.save(plain_checkpoint(content), file, **options)


def load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, **_: Any) -> Any:
    """Download a checkpoint into torch's cache, unless it is there, and read it."""
    folder = Path(model_dir) if model_dir else Path(torch.hub.get_dir(), 'checkpoints')
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(urlparse(url).path).name
    if not path.exists():
        torch.hub.download_url_to_file(url, str(path), progress=progress)
    return without_instructions(read_checkpoint(path, map_location), None)


def without_instructions(checkpoint: Any, folder: Path | None) -> Any:
    """Remove the plain data that mmengine acts on when it resumes, unless it is harmless.

    * ``meta.config``, which mmengine runs as Python. It does not write this key itself; files for mmcv 1 have it.
    * ``best_ckpt``, the path of a file or folder that mmengine deletes after a better epoch, if it is not a checkpoint
      in ``folder``, where the file to resume from lies. In a copied or moved folder it becomes the file of that name.
    * ``keep_ckpt_ids``, the parts of names of files that mmengine deletes, if they are not numbers.
    """
    if not isinstance(checkpoint, dict):
        return checkpoint
    if isinstance(meta := checkpoint.get('meta'), dict):
        meta.pop('config', None)
    hub = checkpoint.get('message_hub')
    information = hub.get('runtime_info') if isinstance(hub, dict) else None
    if not isinstance(information, dict):
        return checkpoint
    for key, value in list(information.items()):
        if isinstance(key, str) and key.startswith('best_ckpt'):
            harmless = folder is not None and isinstance(value, str) and _is_checkpoint_in(folder, value)
            if not harmless and folder is not None and (copied := _copied_checkpoint(folder, value)):
                information[key], harmless = copied, True
        else:
            numbers = isinstance(value, list) and all(type(number) is int for number in value)
            harmless = key != 'keep_ckpt_ids' or numbers
        if not harmless:
            del information[key]
    return checkpoint


def _is_checkpoint_in(folder: Path, path: str) -> bool:
    return Path(path).suffix == '.pth' and Path(path).resolve().parent == folder.resolve()


def _copied_checkpoint(folder: Path, path: Any) -> str | None:
    """The checkpoint in ``folder`` with the name of another path, or None."""
    copied = folder / Path(path).name if isinstance(path, str) and path.isprintable() else folder
    return str(copied) if copied.suffix == '.pth' and copied.is_file() else None


def use_safe_files(module: ModuleType) -> None:
    """Change ``mmengine.runner.checkpoint``, through which mmengine and its hosts read and write. Idempotent."""
    module.torch = _Torch('torch')  # type: ignore[attr-defined]
    module.load_url = load_url  # type: ignore[attr-defined]
