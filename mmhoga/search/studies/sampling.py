"""Random genotypes: the baseline of a search (the paper's Rand_HOGA, Table 6)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from mmhoga.genotype import PRIMITIVES, Genotype, GenotypeError, known_primitives, num_edges, unknown_primitive


def sample_genotypes(
    count: int, *, num_groups: int = 4, primitives: Sequence[str] = PRIMITIVES, seed: int = 0
) -> list[Genotype]:
    """Distinct genotypes from the space of a search: on every edge any candidate but ``none``, with equal probability.

    ``none`` takes part in a search but is never derived (Eqs. 14, 16), so it is left out here as well. The first n of
    more are the same n: a search over more trials contains the one over fewer.

    Args:
        count: how many.
        num_groups: K.
        primitives: the candidates.
        seed: decides all of them, on every machine and Python.

    Raises:
        ValueError: fewer distinct genotypes than ``count``, or no candidate.
        mmhoga.genotype.GenotypeError: an unknown candidate.
    """
    for name in primitives:
        if name not in known_primitives():
            raise GenotypeError(f'primitives: {unknown_primitive(name)}')
    names = [name for name in dict.fromkeys(primitives) if name != 'none']
    space = len(names) ** num_edges(num_groups)
    if count > space:
        raise ValueError(f'There are {space} genotypes with K = {num_groups} and {len(names)} candidates, not {count}.')
    # Python promises for random(), and for no other method, that a seed gives the same numbers for good.
    draw = random.Random(seed)
    found: dict[Genotype, None] = {}
    while len(found) < count:
        rows = (tuple(names[int(draw.random() * len(names))] for _ in range(k + 1)) for k in range(num_groups))
        found[Genotype(tuple(rows))] = None
    return [Genotype(one.edges, {'trial': i, 'sampling_seed': seed}) for i, one in enumerate(found)]
