"""Several genotypes: random ones as a baseline, and the agreement between repeated searches."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from mmhoga.genotype import (
    PRIMITIVES,
    Genotype,
    GenotypeError,
    edge_list,
    edge_name,
    known_primitives,
    num_edges,
    unknown_primitive,
)


def sample_genotypes(
    count: int, *, num_groups: int = 4, primitives: Sequence[str] = PRIMITIVES, seed: int = 0
) -> list[Genotype]:
    """Distinct random genotypes, the baseline of a search (the paper's Rand_HOGA, Table 6).

    Each edge is drawn uniformly from the candidates except ``none``, which a search never derives (Eqs. 14, 16). The
    first n genotypes do not depend on ``count``, so a study can be extended. A seed gives the same genotypes on every
    machine and version of Python.

    Raises:
        ValueError: there are fewer distinct genotypes than ``count``.
        mmhoga.genotype.GenotypeError: an unknown candidate.
    """
    for name in primitives:
        if name not in known_primitives():
            raise GenotypeError(f'primitives: {unknown_primitive(name)}')
    names = [name for name in dict.fromkeys(primitives) if name != 'none']
    space = len(names) ** num_edges(num_groups)
    if count > space:
        raise ValueError(f'There are {space} genotypes with K = {num_groups} and {len(names)} candidates, not {count}.')
    # random() is the only method whose numbers Python guarantees never to change for a given seed.
    generator = random.Random(seed)
    genotypes: dict[Genotype, None] = {}
    while len(genotypes) < count:
        rows = (tuple(names[int(generator.random() * len(names))] for _ in range(k + 1)) for k in range(num_groups))
        genotypes[Genotype(tuple(rows))] = None
    return [Genotype(genotype.edges, {'trial': i, 'sampling_seed': seed}) for i, genotype in enumerate(genotypes)]


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
