"""What a search left in its work_dir: the genotype, and alpha at the end of every epoch."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmhoga.figures.palette import style
from mmhoga.genotype import Genotype, edge_list, num_edges
from mmhoga.report.runs import Run, existing_work_dir, is_number, read_run

FORMAT = 'mmhoga.search_history'
VERSION = 1


@dataclass(frozen=True)
class SearchHistory:
    """Alpha over epochs.

    Attributes:
        num_groups: K.
        primitives: names of alpha's columns.
        epochs: (E,) epoch numbers, from 1.
        alpha: (E, K(K+1)/2, M), rows in the order of :func:`mmhoga.genotype.edge_list`.
        genotypes: what the search would have chosen after each epoch.
        further: what else was recorded after each epoch, by name: numbers of edges, costs, losses, as far as there are.
    """

    num_groups: int
    primitives: tuple[str, ...]
    epochs: tuple[int, ...]
    alpha: np.ndarray
    genotypes: tuple[Genotype, ...]
    further: tuple[Mapping[str, float], ...] = ()

    @property
    def edges(self) -> list[tuple[int, int]]:
        """(source, target) of alpha's rows."""
        return edge_list(self.num_groups)

    @property
    def probabilities(self) -> np.ndarray:
        """softmax(alpha) over the operations (Eq. 12): (E, K(K+1)/2, M)."""
        shifted = np.exp(self.alpha - self.alpha.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    @property
    def entropy(self) -> np.ndarray:
        """Of each edge's probabilities, in nats: (E, K(K+1)/2)."""
        p = self.probabilities
        return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)

    @property
    def max_entropy(self) -> float:
        """log(M): every operation equally likely."""
        return math.log(len(self.primitives))

    def changes(self) -> list[tuple[int, tuple[int, int], str, str]]:
        """(epoch, edge, from, to) for every edge whose chosen operation changed."""
        steps = zip(self.epochs[1:], self.genotypes, self.genotypes[1:])
        return [
            (epoch, edge, before.operation(*edge), after.operation(*edge))
            for epoch, before, after in steps
            for edge in self.edges
            if before.operation(*edge) != after.operation(*edge)
        ]


@dataclass(frozen=True)
class SearchRun:
    """A search: its run, the genotype and the history; each of the three may not be there yet."""

    work_dir: Path
    run: Run | None
    genotype: Genotype | None
    history: SearchHistory | None

    @property
    def chosen(self) -> str:
        """The genotype's operations in words: ``4 norm 3x3, 3 skip, ...``, with a multiplication sign."""
        if self.genotype is None:
            return 'nothing yet'
        counts = Counter(name for row in self.genotype.edges for name in row)
        return ', '.join(f'{count} {style(name).label}' for name, count in counts.most_common())

    @property
    def extent(self) -> str:
        """``20 epochs of search with seed 0``, as far as it is known."""
        epochs = len(self.history.epochs) if self.history else None
        text = f'{epochs} epoch{"s" if epochs != 1 else ""} of search' if epochs else 'The search'
        seed = self.genotype.meta.get('seed') if self.genotype else None
        return text if seed is None else f'{text} with seed {seed}'


def read_search(work_dir: str | os.PathLike) -> SearchRun:
    """Read the work_dir of a search, finished or not.

    Raises:
        FileNotFoundError: no such folder, or no search in it.
        ValueError: ``search_history.json`` is damaged; the message names the file and the part.
        mmhoga.genotype.GenotypeError: the same for ``genotype.json``.
    """
    work_dir = existing_work_dir(work_dir)
    genotype, history = work_dir / 'genotype.json', work_dir / 'search_history.json'
    if not genotype.is_file() and not history.is_file():
        stages = sorted(str(path.parent) for path in work_dir.glob('*/search_history.json'))
        raise FileNotFoundError(
            f'No search in {str(work_dir)!r}: looked for genotype.json and search_history.json, which a search writes '
            'at the end of every epoch. '
            + (
                f'There is one a stage: give one of {", ".join(stages)}.'
                if stages
                else 'Is it the work_dir of a training run, or has the first epoch not ended?'
            )
        )
    found = Genotype.load(genotype) if genotype.is_file() else None
    # The logs of a search with one alpha a stage are beside the folders of the stages.
    logs = work_dir.parent if found is not None and 'stage' in found.meta else work_dir
    try:
        run = read_run(logs)
    except FileNotFoundError:
        run = None
    return SearchRun(
        work_dir=work_dir,
        run=run,
        genotype=found,
        history=read_history(history) if history.is_file() else None,
    )


def read_history(path: str | os.PathLike) -> SearchHistory:
    """Read ``search_history.json``; of an epoch that appears twice, the later record counts.

    Raises:
        ValueError: not JSON, another format or version, or an epoch whose alpha has another shape.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not valid JSON, or was cut off: {error}') from error
    found = (data.get('format'), data.get('version')) if isinstance(data, dict) else type(data).__name__
    if found != (FORMAT, VERSION):
        raise ValueError(f'{path} is {found}; expected format {FORMAT!r}, version {VERSION}.')
    try:
        groups, primitives = int(data['num_groups']), tuple(data['primitives'])
        records = {int(record['epoch']): record for record in data['epochs']}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}: num_groups, primitives or epochs are missing or malformed ({error!r}).') from error
    shape = (num_edges(groups), len(primitives))
    epochs = tuple(sorted(records))
    alpha = [_alpha(records[epoch], shape, f'{path}, epoch {epoch}') for epoch in epochs]
    return SearchHistory(
        num_groups=groups,
        primitives=primitives,
        epochs=epochs,
        alpha=np.stack(alpha) if alpha else np.zeros((0, *shape)),
        genotypes=tuple(_genotype(records[epoch], f'{path}, epoch {epoch}') for epoch in epochs),
        further=tuple(_further(records[epoch]) for epoch in epochs),
    )


def _further(record: Mapping[str, Any]) -> dict[str, float]:
    """Every other number of a record, those of a dict as ``loss/val``; what is no number is left out."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found.update({f'{key}/{name}': number for name, number in value.items()})
        elif key != 'epoch':
            found[key] = value
    return {key: value for key, value in found.items() if is_number(value)}


def _alpha(record: dict[str, Any], shape: Sequence[int], where: str) -> np.ndarray:
    try:
        alpha = np.asarray(record.get('alpha'), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: alpha is not a table of numbers ({error}).') from error
    if alpha.shape != tuple(shape):
        raise ValueError(f'{where}: alpha has shape {alpha.shape}, expected {tuple(shape)} (edges, primitives).')
    if not np.isfinite(alpha).all():
        raise ValueError(f'{where}: alpha has values that are not finite; the search diverged.')
    return alpha


def _genotype(record: dict[str, Any], where: str) -> Genotype:
    try:
        return Genotype.from_config(record.get('genotype'))
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
