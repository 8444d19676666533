"""What a search left in its work_dir: the genotype, and alpha at the end of every epoch."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmhoga.figures.palette import style
from mmhoga.genotype import Genotype
from mmhoga.report.runs import Run, existing_work_dir, read_run
from mmhoga.search.records.history import SearchHistory, read_history


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
