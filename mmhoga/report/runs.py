"""The curves, final metrics, seed and config that mmengine wrote into a run's work_dir.

Unfinished, killed and resumed runs are read like any other. Every start of a run writes a folder named by its time.
What a later start repeated replaces what an earlier one had logged.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmhoga.report.environment import recorded_environment

Row = Mapping[str, Any]

# A search logs its alpha among the validations, as alpha/...
_NOT_METRICS = {'step', 'time', 'data_time', 'epoch', 'iter', 'memory', 'loss', 'val_loss'}


@dataclass(frozen=True)
class Run:
    """One training run."""

    work_dir: Path
    train: tuple[Row, ...]  # logged steps in order; time is seconds per step, averaged over the log's window
    val: tuple[Row, ...]  # one row per validation; step is the epoch (the iteration in a run by iterations)
    test: Row | None = None  # the last test into the same work_dir; one before the last start does not count
    seed: int | None = None  # randomness.seed of the config
    config_path: Path | None = None  # the config as mmengine dumped it at the last start
    notes: tuple[str, ...] = ()  # sentences on what could not be read
    max_epochs: int | None = None  # of the config's train_cfg
    max_iters: int | None = None
    checkpoint: int = 0  # epoch of the last checkpoint
    environment: Mapping[str, str] = field(default_factory=dict)  # of its machine, from the log of the last start

    @property
    def by_epoch(self) -> bool:
        return all('epoch' in row for row in self.train)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that was measured, in the order of the logs."""
        keys = dict.fromkeys(key for row in (*self.val, self.test or {}) for key in row)
        return tuple(key for key in keys if key not in _NOT_METRICS and not key.startswith('alpha/'))

    def final(self, metric: str) -> float | None:
        """The test's value, or else that of the last validation with this metric; None without either."""
        values = (row.get(metric) for row in (self.test or {}, *reversed(self.val)))
        return next(filter(is_number, values), None)

    def tested(self, metric: str) -> bool:
        """Whether :meth:`final` is a test's value."""
        return self.test is not None and is_number(self.test.get(metric))

    def train_curve(self, key: str) -> tuple[list[float], list[float]]:
        """(epochs, mean of ``key`` over the epoch's logged steps), or (iterations, values) in a run by iterations."""
        groups: dict[float, list[float]] = defaultdict(list)
        for row in self.train:
            if is_number(row.get(key)):
                groups[row['epoch'] if self.by_epoch else row['step']].append(row[key])
        return list(groups), [statistics.fmean(values) for values in groups.values()]

    def val_curve(self, key: str) -> tuple[list[float], list[float]]:
        """(epochs or iterations, values of the validations)."""
        rows = [row for row in self.val if is_number(row.get(key))]
        return [row['step'] for row in rows], [row[key] for row in rows]

    @property
    def completed(self) -> int:
        """Epochs (iterations, in a run by iterations) that certainly ended."""
        validated = max((int(row['step']) for row in self.val), default=0)
        if not self.train:
            return validated
        if not self.by_epoch:
            return max(validated, int(self.train[-1]['step']))
        last = int(self.train[-1]['epoch'])
        return last if last in (validated, self.checkpoint) else last - 1

    @property
    def unfinished(self) -> str:
        """``3 of 8 epochs``; empty for a run that reached its end or was tested."""
        total, unit = (self.max_epochs, 'epochs') if self.by_epoch else (self.max_iters, 'iterations')
        if total is None or self.test is not None or self.completed >= total:
            return ''
        return f'{self.completed} of {total} {unit}'

    @property
    def steps(self) -> tuple[int, bool]:
        """Training steps so far, and whether the number is exact. Otherwise it is the least that it can be.

        Not every step is logged, but the first logged step of each epoch has the same place in it. The distance from
        one to the next is therefore the length of an epoch.
        """
        if not self.by_epoch:
            return self.completed, self.completed == self.max_iters
        first = {int(row['epoch']): int(row['step']) for row in reversed(self.train)}
        epochs = sorted(first)
        lengths = {(first[b] - first[a]) / (b - a) for a, b in zip(epochs, epochs[1:])}
        if len(lengths) == 1 and self.completed == epochs[-1]:
            return int(lengths.pop() * self.completed), True
        return (int(self.train[-1]['step']) if self.train else 0), False

    @property
    def step_time(self) -> float | None:
        """Median of the logged seconds per training step after the first epoch (first row, in a run by iterations)."""
        rows = [row for row in self.train if row['epoch'] > 1] if self.by_epoch else self.train[1:]
        times = [row['time'] for row in rows if is_number(row.get('time'))]
        return statistics.median(times) if times else None


def read_run(work_dir: str | os.PathLike) -> Run:
    """Read the work_dir of a training run of any host.

    Raises:
        FileNotFoundError: the folder does not exist or contains no log.
    """
    work_dir = existing_work_dir(work_dir)
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not logs:
        names = sorted(path.name for path in work_dir.iterdir())
        raise FileNotFoundError(
            f'No log in {str(work_dir)!r}: looked for <timestamp>/vis_data/scalars.json, which mmengine writes at the '
            f'first logged step. It holds {", ".join(names[:8]) or "nothing"}{", ..." if names[8:] else ""}.'
        )
    notes: list[str] = []
    train, val = _merge([_read_rows(path, notes) for path in logs])
    configs = sorted(work_dir.glob('*/vis_data/config.py'))
    numbers = _config_numbers(configs[-1]) if configs else {}
    last = work_dir / 'last_checkpoint'
    saved = re.search(r'epoch_(\d+)\.pth', last.read_text(encoding='utf-8')) if last.is_file() else None
    return Run(
        work_dir=work_dir,
        train=train,
        val=val,
        test=_read_test(work_dir, since=logs[-1].parent.parent.name),
        seed=numbers.get('randomness.seed'),
        config_path=configs[-1] if configs else None,
        notes=tuple(notes),
        max_epochs=numbers.get('train_cfg.max_epochs'),
        max_iters=numbers.get('train_cfg.max_iters'),
        checkpoint=int(saved[1]) if saved else 0,
        environment=recorded_environment(work_dir),
    )


def existing_work_dir(work_dir: str | os.PathLike) -> Path:
    """Return the path of a folder, or raise FileNotFoundError."""
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise FileNotFoundError(
            f'No work_dir at {str(work_dir)!r} (absolute: {work_dir.resolve()}). '
            'It is the --work-dir of the training, by default work_dirs/<name of the config>.'
        )
    return work_dir


def _read_rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    rows = []
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict) and is_number(row.get('step')):
            rows.append(row)
        elif line.strip():
            cut = 'was cut off' if number == len(lines) else 'is not a log row'
            notes.append(f'Line {number} of {path.parent.parent.name}/vis_data/{path.name} {cut} and was left out.')
    return rows


def _merge(logs: list[list[dict[str, Any]]]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Let later logs replace what they repeat: the last epoch after a resume, everything after a fresh start."""
    train: dict[float, dict] = {}
    val: dict[float, dict] = {}
    for rows in logs:
        steps = [row for row in rows if 'iter' in row]
        if steps:
            first = steps[0]
            train = {step: row for step, row in train.items() if step < first['step']}
            val = {step: row for step, row in val.items() if step < first.get('epoch', first['step'])}
        for row in rows:
            kept = train if 'iter' in row else val
            # Hooks may log a step's values one by one.
            kept[row['step']] = {**kept.get(row['step'], {}), **row}
    return tuple(train[step] for step in sorted(train)), tuple(val[step] for step in sorted(val))


def _read_test(work_dir: Path, since: str) -> Row | None:
    """The metrics that mmengine wrote to <timestamp>/<timestamp>.json, unless the training went on after that."""
    for path in sorted(work_dir.glob('*/*.json'), reverse=True):
        if path.stem == path.parent.name >= since:
            with contextlib.suppress(ValueError):  # not JSON, or not UTF-8
                metrics = json.loads(path.read_text(encoding='utf-8'))
                if isinstance(metrics, dict):
                    return metrics
    return None


def _config_numbers(config: Path) -> dict[str, int]:
    """Every whole number in ``name = dict(key=...)`` of a dumped config, as ``name.key``, without running the file."""
    try:
        statements = ast.parse(config.read_text(encoding='utf-8')).body
    except SyntaxError:
        return {}
    return {
        f'{ast.unparse(statement.targets[0])}.{word.arg}': word.value.value
        for statement in statements
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)
        for word in statement.value.keywords
        if isinstance(word.value, ast.Constant) and type(word.value.value) is int
    }


def is_number(value: Any) -> bool:
    """A finite int or float; bools are excluded."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
