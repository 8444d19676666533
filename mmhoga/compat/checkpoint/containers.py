"""The files that ``torch.save`` writes: zip archives since torch 1.6, and a sequence of pickles before."""

from __future__ import annotations

import io
import logging
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmhoga.compat.checkpoint.interpreter import Interpreter
from mmhoga.compat.checkpoint.names import find
from mmhoga.compat.checkpoint.objects import CheckpointError, Storage, StorageType, Unknown, hashable, item_size, short
from mmhoga.compat.checkpoint.plain import with_types

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_checkpoint(source: str | os.PathLike | BinaryIO, map_location: Any = None) -> Any:
    """Read a file of ``torch.save`` without running code of the file.

    Arguments and result are those of ``torch.load``, but other objects than plain data are :class:`Unknown`, and a
    warning names them. The tensors and arrays take no more memory than the file, and the other objects are at most 5
    million.

    Raises:
        CheckpointError: the file is damaged, or its weights are not plain tensors.
        OSError: the file cannot be opened.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _read(source, 'the checkpoint', map_location)
    if str(source).endswith('.safetensors'):
        from safetensors.torch import load_file

        return load_file(source, str(map_location) if isinstance(map_location, (str, torch.device)) else 'cpu')
    with Path(source).open('rb') as file:
        return _read(file, str(source), map_location)


def _read(file: BinaryIO, name: str, map_location: Any) -> Any:
    try:
        start = file.tell()
        is_zip = file.read(4) == b'PK\x03\x04'
        size = file.seek(0, io.SEEK_END) - start
        file.seek(start)
        storages = _Storages(size, map_location)
        content = with_types((_read_zip if is_zip else _read_legacy)(file, storages))
        weights = content.get('state_dict') if isinstance(content, dict) else content
        unknown = list(_unknown([weights]))
        others = sorted(set(_unknown([content])))
    except CheckpointError as error:
        raise CheckpointError(f'{name} cannot be read as a checkpoint: {error}.') from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # what a damaged file leads to depends on the byte
        raise CheckpointError(f'{name} cannot be read as a checkpoint: it is damaged or cut off.') from error
    if unknown:
        raise CheckpointError(
            f'{name} has {unknown[0]} in its weights, which mmhoga does not load, because it can run code. Ask for a '
            "file of plain tensors: torch.save(model.state_dict(), 'FILE')."
        )
    if others:
        more = f' and {len(others) - 5} others' if len(others) > 5 else ''
        text = f'{name}: left out what is no plain data: {", ".join(others[:5])}{more}.'
        print_log(text, logger='current', level=logging.WARNING)
    return content


def _unknown(values: Any) -> Iterator[str]:
    """The names of the unknown objects in nested containers. They may be nested deeply, or contain themselves."""
    pending, seen = list(values), set()
    while pending:
        value = pending.pop()
        if isinstance(value, Unknown):
            yield value.name
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            pending += dict.values(value) if isinstance(value, dict) else value


class _Storages:
    """The storages of one file. Together they take no more memory than the file."""

    def __init__(self, limit: int, map_location: Any) -> None:
        self.limit = limit
        self.restore: Callable[..., torch.UntypedStorage] = torch.serialization._get_restore_location(map_location)
        self.known: dict[str, tuple[Storage, Tensor]] = {}

    def get(self, persistent_id: Any) -> tuple[Storage | Unknown, Tensor | None]:
        """The storage of ``('storage', type, key, location, numel)``, and its bytes in CPU memory if it is new."""
        if type(persistent_id) is not tuple or len(persistent_id) not in (5, 6) or persistent_id[0] != 'storage':
            raise CheckpointError('it refers to something else than a storage')
        _, kind, key, location, numel, *view = persistent_id
        if isinstance(kind, Unknown):
            return kind, None
        if type(kind) is not StorageType or type(key) is not str or type(location) is not str or type(numel) is not int:
            raise CheckpointError('it has a storage without a type, name, place and size')
        if view and view[0] is not None:
            raise CheckpointError('it has a view of a storage, as torch wrote before version 0.4')
        if key in self.known:
            storage, _ = self.known[key]
            if storage.dtype != kind.dtype or storage.numel != numel:
                raise CheckpointError('it has one storage with two types or sizes')
            return storage, None
        self.limit -= (size := numel * item_size(kind.dtype))
        if numel < 0 or self.limit < 0:
            raise CheckpointError('its tensors are larger than the file')
        memory = torch.UntypedStorage(size)
        content = torch.empty((0,), dtype=torch.uint8).set_(memory, 0, (size,), (1,))  # type: ignore[call-overload]
        try:
            restored = self.restore(memory, location)
        except Exception as error:  # as torch's function for the device raises
            reason = str(error).partition('. ')[0]
            raise CheckpointError(
                f"its tensors have no place, which map_location='cpu' gives them ({reason})"
            ) from error
        if restored.device.type == 'mps' and kind.dtype in (torch.float64, torch.complex128):  # which mps lacks
            restored = memory
        storage = Storage(restored, kind.dtype, numel)
        self.known[key] = storage, content
        return storage, content


def _fill(storage: Storage, content: Tensor, file: Any) -> None:
    """Read the bytes of a storage, and copy them to its device."""
    if file.readinto(content.numpy().data) != len(content):
        raise CheckpointError('it is cut off')
    if storage.dtype == torch.bool:  # torch counts on bytes of 0 and 1
        content.ne_(0)
    if storage.memory.data_ptr() != content.data_ptr() and storage.memory.device.type != 'meta':
        size = tuple(content.shape)
        there = torch.empty((0,), dtype=torch.uint8, device=storage.memory.device)
        there.set_(storage.memory, 0, size, (1,)).copy_(content)  # type: ignore[call-overload]


def _require_byte_order(order: str) -> None:
    if order != sys.byteorder:
        raise CheckpointError(f'it was written on a machine with {short(order)}-endian numbers')


def _read_zip(file: BinaryIO, storages: _Storages) -> Any:
    """``PREFIX/data.pkl`` is the pickle and ``PREFIX/data/KEY`` a storage; all are stored without compression."""
    with zipfile.ZipFile(file) as archive:
        records = {entry.filename: entry for entry in archive.infolist()}
        prefix = next((name[: -len('data.pkl')] for name in records if name.endswith('/data.pkl')), None)
        if f'{prefix}constants.pkl' in records:
            raise CheckpointError('it is a TorchScript program')
        if prefix is None:
            raise CheckpointError('it is a zip archive of something else')
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in records.values()):
            raise CheckpointError('it is compressed, as torch does not write')

        @contextmanager
        def record(name: str, size: int | None = None) -> Iterator[Any]:
            entry = records[f'{prefix}{name}']
            if size not in (None, entry.file_size):
                raise CheckpointError('its records do not have the sizes of its tensors')
            with archive.open(entry) as opened:
                yield opened

        def storage(persistent_id: Any) -> Storage | Unknown:
            found, content = storages.get(persistent_id)
            if content is not None and len(content):
                with record(f'data/{persistent_id[2]}', len(content)) as opened:
                    _fill(found, content, opened)  # type: ignore[arg-type]
            return found

        if f'{prefix}byteorder' in records:
            with record('byteorder') as opened:
                _require_byte_order(opened.read(6).decode())
        with record('data.pkl') as opened:
            pickled = opened.read()
        return Interpreter(find, storage).run(io.BytesIO(pickled), len(pickled))


def _read_legacy(file: BinaryIO, storages: _Storages) -> Any:
    """Pickles of a magic number, a version, the system, the object and the storages' keys; then the storages."""

    size = storages.limit

    def no_storage(_: Any) -> None:
        raise CheckpointError('it has tensors where its version should be')

    def simple() -> Any:
        return Interpreter(Unknown, no_storage).run(file, size)

    if file.read(1) != b'\x80':
        raise CheckpointError('torch.save did not write it')
    file.seek(-1, io.SEEK_CUR)
    if simple() != _LEGACY_MAGIC or simple() != _LEGACY_PROTOCOL:
        raise CheckpointError('torch.save did not write it')
    _require_byte_order('little' if simple().get('little_endian', True) else 'big')
    content = Interpreter(find, lambda persistent_id: storages.get(persistent_id)[0]).run(file, size)
    for key in map(hashable, simple()):
        storage, memory = storages.known.pop(key)
        if struct.unpack('<q', file.read(8)) != (storage.numel,):
            raise CheckpointError('its records do not have the sizes of its tensors')
        _fill(storage, memory, file)
    if storages.known:
        raise CheckpointError('it is cut off')
    return content
