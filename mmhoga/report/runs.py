"""What a run left in its work_dir: the curves, final metrics, seed and config that mmengine wrote.

A run that is still going, was killed, or was resumed reads like any other. Every start of a run has a folder of its
own, named by its time; what a later one did again replaces what an earlier one had.
"""

from __future__ import annotations

import ast
import json
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmhoga.report.run_environment import recorded_environment

Row = Mapping[str, Any]

# A search logs its alpha among the validations, as alpha/...
_NOT_METRICS = {'step', 'time', 'data_time', 'epoch', 'iter', 'memory', 'loss', 'val_loss'}


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        work_dir: the folder that was read.
        train: logged training steps in order; ``time`` is seconds a step, averaged over the log's window.
        val: one row a validation; ``step`` is the epoch (the iteration in a run by iterations).
        test: metrics of the last ``tools/test.py`` into the same work_dir, if there was one.
        seed: ``randomness.seed`` of the config; None if it has none.
        max_epochs: ``train_cfg.max_epochs`` of the config; None if it has none.
        config_path: the config as mmengine dumped it at the last start.
        notes: what could not be read, in words.
        environment: of the machine that it ran on, from the log of the last start.
    """

    work_dir: Path
    train: tuple[Row, ...]
    val: tuple[Row, ...]
    test: Row | None = None
    seed: int | None = None
    config_path: Path | None = None
    notes: tuple[str, ...] = ()
    max_epochs: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_epoch(self) -> bool:
        return all('epoch' in row for row in self.train)

    @property
    def config_text(self) -> str | None:
        return self.config_path.read_text(encoding='utf-8') if self.config_path else None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that was measured, in the order in which it was met."""
        rows = (*self.val, *((self.test,) if self.test else ()))
        keys = dict.fromkeys(key for row in rows for key in row)
        return tuple(key for key in keys if key not in _NOT_METRICS and not key.startswith('alpha/'))

    @property
    def losses(self) -> tuple[str, ...]:
        """Every loss that a training step logged."""
        keys = dict.fromkeys(key for row in self.train for key in row)
        return tuple(key for key in keys if 'loss' in key)

    def final(self, metric: str) -> float | None:
        """The metric of the test, or else of the last validation that has it; None if it was never measured."""
        rows = (*self.val, *((self.test,) if self.test else ()))
        values = [row[metric] for row in rows if is_number(row.get(metric))]
        return values[-1] if values else None

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
    def steps(self) -> int:
        """Training steps so far, as far as they were logged."""
        return int(self.train[-1]['step']) if self.train else 0

    @property
    def peak_memory(self) -> float | None:
        """Highest logged memory of an accelerator in MiB; None where there is none."""
        values = [row['memory'] for row in self.train if is_number(row.get('memory'))]
        return max(values) if values else None

    @property
    def step_time(self) -> float | None:
        """Median of the logged seconds a training step after the first epoch (first row, in a run by iterations)."""
        rows = [row for row in self.train if row['epoch'] > 1] if self.by_epoch else self.train[1:]
        times = [row['time'] for row in rows if is_number(row.get('time'))]
        return statistics.median(times) if times else None


def read_run(work_dir: str | os.PathLike) -> Run:
    """Read the work_dir of a training run of any host.

    Raises:
        FileNotFoundError: the folder, or any log in it, is missing; the message says what was looked for.
    """
    work_dir = existing_work_dir(work_dir)
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not logs:
        raise FileNotFoundError(
            f'No log in {str(work_dir)!r}: looked for <timestamp>/vis_data/scalars.json, which mmengine writes at the '
            f'first logged step. {_contents(work_dir)}'
        )
    notes: list[str] = []
    train, val = _merge([_read_rows(path, notes) for path in logs])
    configs = sorted(work_dir.glob('*/vis_data/config.py'))
    return Run(
        work_dir=work_dir,
        train=train,
        val=val,
        test=_read_test(work_dir),
        seed=_read_number(configs[-1], 'randomness', 'seed') if configs else None,
        config_path=configs[-1] if configs else None,
        notes=tuple(notes),
        max_epochs=_read_number(configs[-1], 'train_cfg', 'max_epochs') if configs else None,
        environment=recorded_environment(work_dir),
    )


def existing_work_dir(work_dir: str | os.PathLike) -> Path:
    """The path, if there is such a folder; else FileNotFoundError."""
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise FileNotFoundError(
            f'No work_dir at {str(work_dir)!r} (absolute: {work_dir.resolve()}). '
            'It is what tools/train.py got as --work-dir, by default work_dirs/<name of the config>.'
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
    """Later logs replace what they repeat: after a resume the last epoch, after a fresh start everything."""
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


def _read_test(work_dir: Path) -> Row | None:
    """mmengine dumps a test's metrics to <timestamp>/<timestamp>.json."""
    for path in sorted(work_dir.glob('*/*.json'), reverse=True):
        if path.stem == path.parent.name:
            try:
                metrics = json.loads(path.read_text(encoding='utf-8'))
            except (json.JSONDecodeError, UnicodeDecodeError):
                continue
            if isinstance(metrics, dict):
                return metrics
    return None


def _read_number(config: Path, name: str, key: str) -> int | None:
    """The whole number in ``name = dict(key=...)`` of a dumped config, without running it."""
    try:
        statements = ast.parse(config.read_text(encoding='utf-8')).body
    except SyntaxError:
        return None
    for statement in statements:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            keywords = getattr(statement.value, 'keywords', [])
            values = [getattr(word.value, 'value', None) for word in keywords if word.arg == key]
            return values[0] if values and isinstance(values[0], int) else None
    return None


def is_number(value: Any) -> bool:
    """A finite one; JSON's true is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _contents(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return f'It holds {", ".join(names[:8])}{", ..." if len(names) > 8 else ""}.' if names else 'It is empty.'
