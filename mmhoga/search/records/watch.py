"""Signs in the history of a search that it collapses, or that it has settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CollapseWatch:
    """The two criteria of DARTS+ (Liang et al. 2019), with thresholds for HOGA.

    Gradient-based searches drift to skip-connections when they run too long. The paper's own result has 3 in 10 edges
    (Fig. 3), which the limit of DARTS+ would reject; the default here allows half of the edges.

    Args:
        max_skips: the most skip-connections allowed in the derived genotype: a share of the edges (float) or a number
            of edges (int). None disables the criterion.
        stable_epochs: the search has settled if the order of the candidates with parameters, by alpha, is unchanged on
            every edge for this many epochs. None disables the criterion.
        action: ``'warn'`` once when a sign appears, or ``'stop'`` the search after that epoch.

    Raises:
        ValueError: an unknown action, or limits out of range.
    """

    max_skips: float | int | None = 0.5
    stable_epochs: int | None = 10
    action: str = 'warn'

    def __post_init__(self) -> None:
        if self.action not in ('warn', 'stop'):
            raise ValueError(f"watch.action must be one of 'warn' and 'stop', not {self.action!r}.")
        limit = self.max_skips
        if limit is not None and (limit < 0 or (isinstance(limit, float) and limit > 1)):
            raise ValueError(f'watch.max_skips = {limit}; expected a share of the edges from 0.0 to 1.0, or an int.')
        if self.stable_epochs is not None and self.stable_epochs < 1:
            raise ValueError(f'watch.stable_epochs must be at least 1, not {self.stable_epochs}.')

    def findings(self, epochs: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> dict[str, str]:
        """The criteria that hold after the last of these epochs, each with a sentence.

        Args:
            epochs: records of ``search_history.json``, with ``alpha`` and ``genotype``.
            primitives: the names of alpha's columns.
        """
        findings = {}
        if epochs and self.max_skips is not None:
            names = [name for row in epochs[-1]['genotype'] for name in row]
            skips = names.count('skip_connect')
            limit = self.max_skips * len(names) if isinstance(self.max_skips, float) else self.max_skips
            if skips > limit:
                findings['max_skips'] = f'{skips} of {len(names)} edges would be skip-connections (limit {limit:g})'
        if self.stable_epochs is not None and len(epochs) > self.stable_epochs:
            recent = [_ranking(entry['alpha'], primitives) for entry in epochs[-self.stable_epochs - 1 :]]
            if all(ranking == recent[0] for ranking in recent):
                findings['stable_epochs'] = (
                    f'the order of the candidates has not changed on any edge for {self.stable_epochs} epochs'
                )
        return findings

    def news(self, epochs: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> dict[str, str]:
        """The findings that did not hold one epoch earlier."""
        before = self.findings(epochs[:-1], primitives)
        return {name: text for name, text in self.findings(epochs, primitives).items() if name not in before}


def _ranking(alpha: Sequence[Sequence[float]], primitives: Sequence[str]) -> list[list[int]]:
    """The candidates with parameters; alpha of the others measures how strong an edge is, not which one is best."""
    learned = [i for i, name in enumerate(primitives) if name not in ('none', 'skip_connect')]
    return [sorted(learned, key=lambda i: -row[i]) for row in alpha]
