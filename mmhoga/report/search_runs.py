"""A search's work_dir: its run, the genotype, and alpha at the end of every epoch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmhoga.figures.plots import Curve
from mmhoga.figures.styles import style
from mmhoga.genotype import Genotype
from mmhoga.report.runs import Run, existing_work_dir, read_run
from mmhoga.search.records.history import SearchHistory, read_history


@dataclass(frozen=True)
class SearchRun:
    """A search. Its run, genotype and history may each be missing."""

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
    def epochs(self) -> tuple[int, int | None]:
        """(epochs in the history, epochs in the config)."""
        return len(self.history.epochs) if self.history else 0, self.run.max_epochs if self.run else None

    @property
    def unfinished(self) -> bool:
        done, total = self.epochs
        return total is not None and done < total

    @property
    def losses(self) -> tuple[Mapping[str, Sequence[Curve]], str]:
        """Curves of both losses, and their source: means over epochs if the whole history has them, else the logs."""
        names = {'weights, on trainA': ('loss/trainA', 'loss'), 'alpha, on trainB': ('loss/trainB', 'alpha_loss')}
        if self.run is None:
            return {}, ''
        records = self.history.further if self.history else ()
        if (
            self.history
            and records
            and self.run.by_epoch
            and all(key in record for record in records for key, _ in names.values())
        ):
            epochs = list(self.history.epochs)
            means = {label: [(epochs, [record[key] for record in records])] for label, (key, _) in names.items()}
            return means, 'Losses are means over the epoch.'
        logged = {label: [self.run.train_curve(key)] for label, (_, key) in names.items()}
        return logged, 'Losses are those of the logged steps.'

    @property
    def none_is_first(self) -> bool:
        """Whether ``none``, which is never chosen, has a higher alpha than the chosen operation of some edge."""
        history = self.history
        if history is None or 'none' not in history.primitives:
            return False
        columns = [history.primitives.index(history.genotypes[-1].operation(*edge)) for edge in history.edges]
        none = history.primitives.index('none')
        return any(row[none] > row[chosen] for row, chosen in zip(history.alpha[-1], columns))


def read_search(work_dir: str | os.PathLike) -> SearchRun:
    """Read the work_dir of a search, finished or not.

    Raises:
        FileNotFoundError: no such folder, or no search in it.
        ValueError: ``search_history.json`` is damaged.
        mmhoga.genotype.GenotypeError: ``genotype.json`` is damaged.
    """
    work_dir = existing_work_dir(work_dir)
    genotype, history = work_dir / 'genotype.json', work_dir / 'search_history.json'
    if not genotype.is_file() and not history.is_file():
        stages = sorted(str(path.parent) for path in work_dir.glob('*/search_history.json'))
        hint = 'Is it the work_dir of a training run, or has the first epoch not ended?'
        if stages:
            hint = f'It has one per stage: give one of {", ".join(stages)}.'
        raise FileNotFoundError(
            f'No search in {str(work_dir)!r}: looked for genotype.json and search_history.json, which a search writes '
            f'at the end of every epoch. {hint}'
        )
    found = Genotype.load(genotype) if genotype.is_file() else None
    # A search with one alpha per stage has its logs one folder up.
    logs = work_dir.parent if found is not None and 'stage' in found.meta else work_dir
    try:
        run = read_run(logs)
    except FileNotFoundError:
        run = None
    return SearchRun(work_dir, run, found, read_history(history) if history.is_file() else None)
