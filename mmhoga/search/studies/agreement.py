"""How far genotypes agree: those of one search repeated with several seeds, for instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mmhoga.genotype import Genotype, edge_list, edge_name


@dataclass(frozen=True)
class Agreement:
    """Agreement of n genotypes of one K.

    Attributes:
        count: n.
        pairwise: over all pairs, the mean share of edges with the same operation: 1 if all are equal.
        edges: for every edge (source, target), how often each operation stands on it, most often first.
    """

    count: int
    pairwise: float
    edges: dict[tuple[int, int], list[tuple[str, int]]]

    def majority(self) -> Genotype:
        """The most frequent operation on every edge; of equally frequent ones the one that was met first."""
        groups = 1 + max(target for _, target in self.edges)
        return Genotype(tuple(tuple(self.edges[j, k][0][0] for j in range(k + 1)) for k in range(groups)))


def agreement(genotypes: Sequence[Genotype]) -> Agreement:
    """Compare them edge by edge.

    Raises:
        ValueError: fewer than two, or genotypes of different K.
    """
    if len(genotypes) < 2:
        raise ValueError(f'Agreement is between genotypes; found {len(genotypes)}.')
    sizes = {genotype.num_groups for genotype in genotypes}
    if len(sizes) > 1:
        raise ValueError(f'Genotypes of different K cannot agree: K = {", ".join(map(str, sorted(sizes)))}.')
    edges = edge_list(sizes.pop())
    pairs = list(combinations(genotypes, 2))
    same = sum(one.operation(*edge) == other.operation(*edge) for one, other in pairs for edge in edges)
    counts = {edge: Counter(genotype.operation(*edge) for genotype in genotypes).most_common() for edge in edges}
    return Agreement(len(genotypes), same / (len(pairs) * len(edges)), counts)


def agreement_table(found: Agreement, candidates: int) -> str:
    """In words: the mean over pairs, beside what chance would give, and every edge.

    Args:
        found: the agreement.
        candidates: operations that an edge could have got.
    """
    lines = [
        f'{found.count} genotypes: two of them have the same operation on {found.pairwise:.0%} of the edges, on '
        f'average (by chance {1 / candidates:.0%}).'
    ]
    for (j, k), operations in found.edges.items():
        lines.append(f'  {edge_name(j, k):8} ' + ', '.join(f'{count} x {name}' for name, count in operations))
    return '\n'.join(lines)
