"""Agreement between genotypes, such as those of one search repeated with several seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mmhoga.genotype import Genotype, edge_list, edge_name


@dataclass(frozen=True)
class Agreement:
    """Agreement of n genotypes with the same K.

    Attributes:
        count: n.
        pairwise: share of edges with the same operation, averaged over all pairs; 1 if all genotypes are equal.
        edges: for every edge (source, target), its operations with their counts, most frequent first.
    """

    count: int
    pairwise: float
    edges: dict[tuple[int, int], list[tuple[str, int]]]

    def majority(self) -> Genotype:
        """The most frequent operation on every edge; among equals, that of the earliest genotype."""
        groups = 1 + max(target for _, target in self.edges)
        return Genotype(tuple(tuple(self.edges[j, k][0][0] for j in range(k + 1)) for k in range(groups)))


def agreement(genotypes: Sequence[Genotype]) -> Agreement:
    """Compare genotypes edge by edge.

    Raises:
        ValueError: fewer than two genotypes, or different K.
    """
    if len(genotypes) < 2:
        raise ValueError(f'Agreement needs at least two genotypes; found {len(genotypes)}.')
    sizes = {genotype.num_groups for genotype in genotypes}
    if len(sizes) > 1:
        raise ValueError(f'Agreement needs genotypes with the same K; here K = {", ".join(map(str, sorted(sizes)))}.')
    edges = edge_list(sizes.pop())
    pairs = list(combinations(genotypes, 2))
    equal = sum(one.operation(*edge) == other.operation(*edge) for one, other in pairs for edge in edges)
    counts = {edge: Counter(genotype.operation(*edge) for genotype in genotypes).most_common() for edge in edges}
    return Agreement(len(genotypes), equal / (len(pairs) * len(edges)), counts)


def agreement_table(result: Agreement, candidates: int) -> str:
    """The agreement as text, with that of genotypes drawn at random from ``candidates`` operations per edge."""
    lines = [
        f'{result.count} genotypes: two of them have the same operation on {result.pairwise:.0%} of the edges, on '
        f'average (by chance {1 / candidates:.0%}).'
    ]
    for edge, operations in result.edges.items():
        lines.append(f'  {edge_name(*edge):8} ' + ', '.join(f'{count} x {name}' for name, count in operations))
    return '\n'.join(lines)
