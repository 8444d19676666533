"""mmengine's checkpoints, read and written by this package.

mmengine 0.10 reads checkpoints with ``torch.load(path)``, and those of a URL with ``weights_only=False``. Before torch
2.6 both run any code in the file. With newer torch, the first refuses what mmengine itself has written.
"""

from __future__ import annotations

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
        return read_checkpoint(file, map_location)

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
    return read_checkpoint(path, map_location)


def use_safe_files(module: ModuleType) -> None:
    """Change ``mmengine.runner.checkpoint``, through which mmengine and its hosts read and write. Idempotent."""
    module.torch = _Torch('torch')  # type: ignore[attr-defined]
    module.load_url = load_url  # type: ignore[attr-defined]
