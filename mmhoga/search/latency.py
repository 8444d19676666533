"""The table of latencies of a search: the milliseconds of each operation on one edge, measured on this machine."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmhoga.files import write_atomic

FORMAT = 'mmhoga.latency_table'
VERSION = 1
COLUMNS = ('primitive', 'channels', 'height', 'width', 'milliseconds')

Key = tuple[str, int, int, int]  # primitive, channels of a group, height, width


def read_latencies(path: str | os.PathLike) -> dict[Key, float]:
    """The milliseconds of derived operations on one edge, from a file that ``mmhoga latency`` wrote.

    The primitive ``cell_k4`` is a cell of K = 4 without its edges, with the channels of the whole cell.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is not a latency table, or has an entry that is not a time.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no latency table {path}. Measure one: mmhoga latency CONFIG --out {path}')
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
    return entries


def write_latencies(path: str | os.PathLike, entries: Mapping[Key, float], meta: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all; ``meta`` records the conditions of the measurement."""
    rows = [dict(zip(COLUMNS, (*key, value))) for key, value in entries.items()]
    data = {'format': FORMAT, 'version': VERSION, 'meta': meta, 'entries': rows}
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
