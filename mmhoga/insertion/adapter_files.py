"""The adapter file: the trained cells of a network without the network, as one safetensors file.

The tensors have the names that they have in the state dict of the network: ``layer1.0.conv2.hoga.phi.0.weight``. The
metadata of the file are strings:

- ``format``: ``mmhoga.adapter``, and ``version``: ``1``.
- ``mmhoga_version``: of the writer.
- ``cells``: JSON, a list with one object per cell: ``name``, the prefix of its tensors; ``before``, whether it runs
  before the module; ``layout`` and ``extra_tokens`` of the map; ``type``; ``config``, the arguments of the type, with
  the genotype as rows; ``complete``, whether these are enough to build the cell. Of several cells at one module, the
  one that runs next to it comes first.
- ``base``: JSON, the tensors of the network that are not in the file. ``sha256`` is over all of them, and ``tensors``
  has the first 8 bytes of the SHA-256 of each in hexadecimal digits, by name; see :func:`fingerprints`.
- ``meta``: JSON, what the caller of ``save_adapter`` added.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmhoga.files import near_names, write_atomic
from mmhoga.insertion.layouts import LAYOUTS
from mmhoga.version import __version__

FORMAT = 'mmhoga.adapter'
VERSION = 1


class AdapterError(ValueError):
    """An adapter that cannot be saved, read, or loaded into this network."""


@dataclass(frozen=True)
class CellEntry:
    """One cell in the file; the fields are described above."""

    name: str
    before: bool
    layout: str
    extra_tokens: int
    type: str
    config: Mapping[str, Any]
    complete: bool

    @property
    def module(self) -> str:
        """The name of the module after or before which the cell is."""
        return self.name.rpartition('.')[0]


_FIELDS = {
    'name': str,
    'before': bool,
    'layout': str,
    'extra_tokens': int,
    'type': str,
    'config': dict,
    'complete': bool,
}


@dataclass(frozen=True)
class AdapterFile:
    """The content of a file.

    Args:
        cells: in the order in which they are inserted.
        tensors: by name.
        base: the fingerprints of the other tensors of the network: shortened in a file that was read.
        base_hash: the SHA-256 of the base.
        meta: of the caller.
    """

    cells: Sequence[CellEntry]
    tensors: Mapping[str, Tensor]
    base: Mapping[str, str]
    base_hash: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: str | os.PathLike) -> None:
        """Write the file, whole or not at all.

        Raises:
            AdapterError: a tensor is not finite, or ``meta`` has values that JSON does not.
            OSError: the folder does not exist, or the file system refuses.
        """
        _require_finite(
            self.tensors, 'The adapter was not saved', 'The training has diverged: lower the learning rate.'
        )
        base = {'sha256': self.base_hash, 'tensors': {name: digest[:16] for name, digest in self.base.items()}}
        try:
            meta = json.dumps(dict(self.meta))
        except (TypeError, ValueError) as error:
            raise AdapterError(f'meta must be plain data for JSON: {error}.') from error
        metadata = {
            'format': FORMAT,
            'version': str(VERSION),
            'mmhoga_version': __version__,
            'cells': json.dumps([asdict(cell) for cell in self.cells]),
            'base': json.dumps(base),
            'meta': meta,
        }
        # Copies, since safetensors refuses tensors with a common storage, such as an alpha that all cells share.
        copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self.tensors.items()}
        write_atomic(path, save(copies, metadata))

    @classmethod
    def read(cls, path: str | os.PathLike) -> AdapterFile:
        """Read and check a file. No code runs: the file has tensors and JSON only.

        Raises:
            AdapterError: the file is not a whole adapter file of this version.
            FileNotFoundError: it does not exist.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'No adapter file at {str(path)!r}.{near_names(path)}')
        try:
            with safe_open(path, framework='pt') as file:
                metadata = file.metadata() or {}
                _require_format(path, metadata)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise AdapterError(
                f'{path} is not a whole safetensors file ({error}). Either it is of another kind, for example a .pth '
                'checkpoint, or it was cut off while it was copied: copy it again, or save it with save_adapter.'
            ) from error
        try:
            rows, base, meta = (json.loads(metadata[key]) for key in ('cells', 'base', 'meta'))
            cells = [_entry(row) for row in rows]
            listed, base_hash = base['tensors'], base['sha256']
            if len({cell.name for cell in cells}) != len(cells):
                raise ValueError('two cells have the same name')
            if not (isinstance(meta, dict) and isinstance(base_hash, str) and isinstance(listed, dict)):
                raise TypeError('meta or base has another structure')
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise AdapterError(
                f'The metadata of {path} are damaged ({type(error).__name__}: {error}). Save the adapter again with '
                'save_adapter.'
            ) from error
        _require_finite(tensors, f'{path} was not loaded', 'Use an adapter of an earlier epoch.')
        return cls(cells, tensors, listed, base_hash, meta)


def fingerprints(state: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, str], str]:
    """The SHA-256 of each of these tensors, over name, data type, shape and bytes, and that of all in order of name.

    ``num_batches_tracked`` is left out: no forward pass reads it, and old checkpoints lack it.
    """
    found = {}
    for name in names:
        tensor = state[name]
        if isinstance(tensor, Tensor) and not name.endswith('num_batches_tracked'):
            digest = hashlib.sha256(f'{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n'.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            found[name] = digest.hexdigest()
    return found, hashlib.sha256(''.join(found[name] for name in sorted(found)).encode()).hexdigest()


def _require_format(path: Path, metadata: Mapping[str, str]) -> None:
    found, version = metadata.get('format'), metadata.get('version')
    if found != FORMAT:
        raise AdapterError(
            f'{path} is no adapter: the format in its metadata is {found!r}, not {FORMAT!r}. load_adapter reads the '
            'files of save_adapter; load other weights with load_state_dict.'
        )
    if version != str(VERSION):
        raise AdapterError(
            f'{path} has version {version!r} of the adapter format, and this mmhoga ({__version__}) reads version '
            f'{VERSION}. Install the mmhoga that wrote it: {metadata.get("mmhoga_version", "unknown")}.'
        )


def _entry(row: Any) -> CellEntry:
    for key, kind in _FIELDS.items():
        if type(row[key]) is not kind:
            raise TypeError(f'{key} of a cell is {row[key]!r}')
    if row['layout'] not in LAYOUTS or row['extra_tokens'] < 0 or not all(row['name'].rpartition('.')[::2]):
        raise ValueError(f'a cell has name {row["name"]!r}, layout {row["layout"]!r}')
    return CellEntry(**{key: row[key] for key in _FIELDS})


def _require_finite(tensors: Mapping[str, Tensor], what: str, hint: str) -> None:
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise AdapterError(f'{what}: {len(bad)} tensors have NaN or infinite values, the first is {bad[0]}. {hint}')
