"""The agreement between the genotypes of repeated searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from mmhoga.genotype import Genotype, edge_list, edge_name


def agreement(genotypes: Sequence[Genotype]) -> tuple[float, dict[tuple[int, int], list[tuple[str, int]]]]:
    """Compare genotypes edge by edge.

    Returns:
        The share of edges with the same operation, averaged over all pairs of genotypes; and for every edge (source,
        target) its operations with their counts, most frequent first.

    Raises:
        ValueError: fewer than two genotypes, or different K.
    """
    sizes = {genotype.num_groups for genotype in genotypes}
    if len(genotypes) < 2 or len(sizes) > 1:
        found = f'{len(genotypes)} with K = {", ".join(map(str, sorted(sizes)))}'
        raise ValueError(f'Agreement needs at least two genotypes with the same K; found {found}.')
    edges = edge_list(sizes.pop())
    pairs = list(combinations(genotypes, 2))
    equal = sum(one.operation(*edge) == other.operation(*edge) for one, other in pairs for edge in edges)
    counts = {edge: Counter(genotype.operation(*edge) for genotype in genotypes).most_common() for edge in edges}
    return equal / (len(pairs) * len(edges)), counts


def agreement_table(genotypes: Sequence[Genotype], candidates: int) -> str:
    """The agreement as text, with that of genotypes drawn at random from ``candidates`` operations per edge."""
    pairwise, edges = agreement(genotypes)
    lines = [
        f'{len(genotypes)} genotypes: two of them have the same operation on {pairwise:.0%} of the edges, on average '
        f'(by chance {1 / candidates:.0%}).'
    ]
    for edge, operations in edges.items():
        lines.append(f'  {edge_name(*edge):8} ' + ', '.join(f'{count} x {name}' for name, count in operations))
    return '\n'.join(lines)
