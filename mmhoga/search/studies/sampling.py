"""Random genotypes, the baseline of a search (the paper's Rand_HOGA, Table 6)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from mmhoga.genotype import PRIMITIVES, Genotype, GenotypeError, known_primitives, num_edges, unknown_primitive


def sample_genotypes(
    count: int, *, num_groups: int = 4, primitives: Sequence[str] = PRIMITIVES, seed: int = 0
) -> list[Genotype]:
    """Distinct genotypes, each edge drawn uniformly from the candidates of a search except ``none``.

    A search never derives ``none`` (Eqs. 14, 16). The first n genotypes do not depend on ``count``, so a study can be
    extended.

    Args:
        count: number of genotypes.
        num_groups: K.
        primitives: the candidates.
        seed: determines the genotypes, on every machine and version of Python.

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
