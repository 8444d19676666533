"""The latency table: milliseconds of each operation on this machine, measured once and kept in a JSON file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmhoga.files import write_atomic

FORMAT = 'mmhoga.latency_table'
VERSION = 1
COLUMNS = ('primitive', 'channels', 'height', 'width', 'milliseconds')

Key = tuple[str, int, int, int]  # primitive, channels of a group, height, width


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of one derived operation on one edge.

    Args:
        entries: by primitive, channels of a group, height and width.
        meta: the conditions of the measurement (device, threads, batch size, versions).
        path: the file, for messages.
    """

    entries: Mapping[Key, float]
    meta: Mapping[str, Any] = field(default_factory=dict)
    path: str = ''

    def milliseconds(self, primitive: str, channels: int, height: int, width: int) -> float:
        """Look up an operation. ``none`` and ``skip_connect`` take 0 ms.

        Raises:
            ValueError: the table lacks the entry; the message names it, and the command that measures it.
        """
        if primitive in ('none', 'skip_connect'):
            return 0.0
        key = (primitive, channels, height, width)
        if key not in self.entries:
            names = ', '.join(dict.fromkeys(name for name, *_ in self.entries))
            sizes = ', '.join(sorted({f'{c} x {h} x {w}' for _, c, h, w in self.entries}))
            raise ValueError(
                f'The latency table {self.path} has no entry for {primitive!r} on {channels} channels of {height} x '
                f'{width}; it has {names or "nothing"} on {sizes or "nothing"}. Measure the cells of your search: '
                f'mmhoga latency CONFIG --out {self.path or "latency.json"}'
            )
        return self.entries[key]

    @classmethod
    def load(cls, path: str | os.PathLike) -> LatencyTable:
        """Read the file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is not a latency table, or has an entry that is not a time.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f'There is no latency table {str(path)!r}. Measure one: mmhoga latency CONFIG --out {path}'
            )
        try:
            data = json.loads(path.read_text(encoding='utf-8'))
            kind = (data.get('format'), data.get('version'))
            if kind != (FORMAT, VERSION):
                raise ValueError(f'format and version are {kind}, expected {(FORMAT, VERSION)}')
            rows = [tuple(entry[column] for column in COLUMNS) for entry in data['entries']]
            entries = {(str(name), int(c), int(h), int(w)): float(value) for name, c, h, w, value in rows}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{path} is not a latency table, or was cut off: {error!r}') from error
        for key, value in entries.items():
            if not 0 <= value < math.inf:  # false for NaN
                raise ValueError(f'{path}: invalid latency {value} ms for {key}.')
        return cls(entries, data.get('meta') or {}, str(path))

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, whole or not at all."""
        entries = [dict(zip(COLUMNS, (*key, value))) for key, value in self.entries.items()]
        data = {'format': FORMAT, 'version': VERSION, 'meta': dict(self.meta), 'entries': entries}
        write_atomic(path, json.dumps(data, indent=1) + '\n')


def measure(
    modules: Iterable[tuple[Key, nn.Module]], *, batch_size: int = 1, device: str = 'cpu', seconds: float = 0.2
) -> dict[Key, float]:
    """The median milliseconds of a forward pass of each module, in eval mode, without gradients.

    Measures each module for ``seconds`` after a warm-up, on ``batch_size`` maps of the size in its key.
    """
    # Imported here: this module looks for compilers, and logs it, which is not wanted in every search.
    from torch.utils.benchmark import Timer

    entries = {}
    for key, module in modules:
        x = torch.rand(batch_size, *key[1:], device=device)
        names = {'module': module.eval().to(device), 'x': x}
        timer = Timer('module(x)', globals=names, num_threads=torch.get_num_threads())
        with torch.inference_mode():
            timer.timeit(3)
            entries[key] = timer.blocked_autorange(min_run_time=seconds).median * 1e3
    return entries
