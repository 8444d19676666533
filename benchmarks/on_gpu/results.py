"""Rows of results: printed and saved as they come, and tables of them."""

from __future__ import annotations

import json
import platform
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from side_by_side import table

from mmhoga.files import write_atomic


class Results:
    """The rows of one section.

    Attributes:
        device: the GPU, or the CPU without one.
        toy: whether to measure small sizes: always on the CPU.
        errors: the number of failed rows.
    """

    def __init__(self, out: Path, name: str, *, toy: bool = False) -> None:
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.on_gpu = self.device.type == 'cuda'
        self.toy = toy or not self.on_gpu
        self.out, self.name = out, name
        self.errors = 0
        self._result: dict[str, Any] = {
            'status': 'running',
            'device': torch.cuda.get_device_name() if self.on_gpu else f'CPU ({platform.machine()})',
            'torch': torch.__version__,
            'python': platform.python_version(),
            'sizes': 'toy' if self.toy else 'full',
            'rows': [],
        }
        self._save()

    def row(self, **cells: Any) -> None:
        """Print and save a row. A float is shown with 4 significant digits."""
        self._result['rows'].append(cells)
        self._save()
        print('  ' + ', '.join(f'{key.replace("_", " ")} {_text(value)}' for key, value in cells.items()), flush=True)

    @contextmanager
    def attempt(self, **cells: Any) -> Iterator[None]:
        """A context that turns an exception into a row with these cells and the error."""
        try:
            yield
        except Exception as error:
            self.errors += 1
            traceback.print_exc()
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.row(**cells, error=f'{type(error).__name__}: {first}'[:200])

    def _save(self) -> None:
        write(self.out / f'{self.name}.json', json.dumps(self._result, indent=1))


def write(path: Path, text: str) -> None:
    write_atomic(path, text)


def read(out: Path, name: str) -> dict[str, Any]:
    """The saved result of a section, or an empty one."""
    path = out / f'{name}.json'
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {'status': 'not run', 'rows': []}


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """All sections as Markdown."""
    parts = []
    for name, result in results.items():
        where = ', '.join(str(result[key]) for key in ('device', 'sizes') if key in result)
        versions = ', '.join(f'{key} {result[key]}' for key in ('torch', 'python') if key in result)
        parts.append(f'### {name.replace("_", " ")}\n\n{"; ".join(filter(None, (where, versions, result["status"])))}')
        columns = list(dict.fromkeys(key for row in result['rows'] for key in row))
        if columns:
            lines = [[key.replace('_', ' ') for key in columns]]
            lines += [[_text(row.get(key, '')) for key in columns] for row in result['rows']]
            parts.append(table(lines))
    return '\n\n'.join(parts) + '\n'


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    return '' if value is None else str(value)
