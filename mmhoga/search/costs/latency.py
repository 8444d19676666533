"""How long each operation takes on this machine: measured, kept in a JSON file, looked up by a search."""

from __future__ import annotations

import json
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

Key = tuple[str, int, int, int]  # primitive, channels of a group, height, width


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of one derived operation on one edge.

    Args:
        entries: by primitive, channels of a group, height and width.
        meta: where it was measured (device, threads, batch size, versions).
        path: the file it came from, for messages.
    """

    entries: Mapping[Key, float]
    meta: Mapping[str, Any] = field(default_factory=dict)
    path: str = ''

    def milliseconds(self, primitive: str, channels: int, height: int, width: int) -> float:
        """Of ``none`` and the identity 0: neither does anything.

        Raises:
            ValueError: there is no such entry; the message names it, and the command that measures it.
        """
        if primitive in ('none', 'skip_connect'):
            return 0.0
        key = (primitive, channels, height, width)
        if key not in self.entries:
            names = ', '.join(dict.fromkeys(name for name, *_ in self.entries))
            known = sorted({f'{c} x {h} x {w}' for _, c, h, w in self.entries})
            raise ValueError(
                f'The latency table {self.path or "given"} has no entry for {primitive!r} on {channels} channels of '
                f'{height} x {width}; it has {names or "nothing"} on {", ".join(known) or "nothing"}. Measure the '
                'cells of your search on this machine: '
                f'python tools/measure_latency.py CONFIG --out {self.path or "latency.json"}'
            )
        return self.entries[key]

    @classmethod
    def load(cls, path: str | os.PathLike) -> LatencyTable:
        """Read the file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is no latency table; the message says what was found.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f'No latency table at {str(path)!r}. Measure one: python tools/measure_latency.py CONFIG --out {path}'
            )
        try:
            data = json.loads(path.read_text(encoding='utf-8'))
            found = (data.get('format'), data.get('version'))
            if found != (FORMAT, VERSION):
                raise ValueError(f'format and version are {found}, expected {(FORMAT, VERSION)}')
            entries = {
                (str(one['primitive']), int(one['channels']), int(one['height']), int(one['width'])): float(
                    one['milliseconds']
                )
                for one in data['entries']
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{path} is no latency table, or was cut off: {error!r}') from error
        wrong = next((key for key, value in entries.items() if not 0 <= value < float('inf')), None)
        if wrong:
            raise ValueError(f'{path}: {wrong} takes {entries[wrong]} ms, which is no time.')
        return cls(entries, data.get('meta') or {}, str(path))

    def save(self, path: str | os.PathLike) -> None:
        """Write the file whole or not at all."""
        rows = [
            json.dumps({'primitive': name, 'channels': c, 'height': h, 'width': w, 'milliseconds': value})
            for (name, c, h, w), value in self.entries.items()
        ]
        head = json.dumps({'format': FORMAT, 'version': VERSION, 'meta': dict(self.meta)})[:-1]
        write_atomic(path, head + ', "entries": [\n ' + ',\n '.join(rows) + ']}\n')


def measure(
    modules: Iterable[tuple[Key, nn.Module]], *, batch_size: int = 1, device: str = 'cpu', seconds: float = 0.2
) -> dict[Key, float]:
    """The median milliseconds of a forward pass of each module, in eval mode, without gradients.

    Args:
        modules: with the key that says on which size of maps.
        batch_size: images at once.
        device: where.
        seconds: to measure each for, after warming up.
    """
    # Not at the head: it looks for compilers, and says so, in every search.
    from torch.utils.benchmark import Timer

    entries = {}
    for key, module in modules:
        _, channels, height, width = key
        x = torch.rand(batch_size, channels, height, width, device=device)
        timer = Timer(
            'module(x)', globals={'module': module.eval().to(device), 'x': x}, num_threads=torch.get_num_threads()
        )
        with torch.inference_mode():
            timer.timeit(3)
            entries[key] = timer.blocked_autorange(min_run_time=seconds).median * 1e3
    return entries
