"""Signs that a search collapses or has nothing more to decide, from its history alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Not learned: their alpha says how much of the others is wanted, not which.
PARAMETER_FREE = ('none', 'skip_connect')
ACTIONS = ('warn', 'stop')


@dataclass(frozen=True)
class CollapseWatch:
    """Two criteria, after DARTS+ (Liang et al. 2019), with thresholds for HOGA.

    Searches by gradient drift to skip-connections when they last too long. The paper's own result has 3 in 10 edges
    (Fig. 3), so DARTS+'s limit of two in a cell would reject it; here more than half of the edges is too many.

    Args:
        max_skips: more skip-connections than this in the derived genotype are a collapse: a share of the edges if it
            is a float, their number if it is an int; None: never.
        stable_epochs: on no edge has the order of the learned candidates by alpha changed for so many epochs: the
            search has settled. None: never.
        action: ``'warn'``, once when a sign appears, or ``'stop'`` the search after that epoch.

    Raises:
        ValueError: an unknown action, or limits that make no sense.
    """

    max_skips: float | int | None = 0.5
    stable_epochs: int | None = 10
    action: str = 'warn'

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f'watch.action must be one of {ACTIONS}, not {self.action!r}.')
        if self.max_skips is not None and self.max_skips < 0:
            raise ValueError(f'watch.max_skips must not be negative: {self.max_skips}.')
        if isinstance(self.max_skips, float) and self.max_skips > 1:
            raise ValueError(
                f'watch.max_skips = {self.max_skips} is above 1: a share, or an int for a number of edges.'
            )
        if self.stable_epochs is not None and self.stable_epochs < 1:
            raise ValueError(f'watch.stable_epochs must be at least 1, not {self.stable_epochs}.')

    def findings(self, epochs: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> dict[str, str]:
        """What the last of these epochs shows, by the name of the criterion.

        Args:
            epochs: entries of ``search_history.json``, with ``alpha`` and ``genotype``.
            primitives: alpha's columns.
        """
        found = {}
        if epochs and self.max_skips is not None:
            names = [name for row in epochs[-1]['genotype'] for name in row]
            skips = names.count('skip_connect')
            most = self.max_skips * len(names) if isinstance(self.max_skips, float) else self.max_skips
            if skips > most:
                found['max_skips'] = f'{skips} of {len(names)} edges would be skip-connections (limit {most:g})'
        if self.stable_epochs is not None and len(epochs) > self.stable_epochs:
            recent = [_ranking(entry['alpha'], primitives) for entry in epochs[-self.stable_epochs - 1 :]]
            if all(ranking == recent[0] for ranking in recent):
                found['stable_epochs'] = (
                    f'on no edge has the order of the candidates changed for {self.stable_epochs} epochs: the search '
                    'has settled'
                )
        return found

    def news(self, epochs: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> list[str]:
        """The findings that the epoch before did not have."""
        before = self.findings(epochs[:-1], primitives)
        return [text for name, text in self.findings(epochs, primitives).items() if name not in before]


def _ranking(alpha: Sequence[Sequence[float]], primitives: Sequence[str]) -> list[list[int]]:
    learned = [i for i, name in enumerate(primitives) if name not in PARAMETER_FREE]
    return [sorted(learned, key=lambda i: -row[i]) for row in alpha]
