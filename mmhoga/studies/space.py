"""The space of genotypes as Optuna's parameters, one categorical parameter per edge, and random genotypes from it."""

from __future__ import annotations

import random
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmhoga.genotype import (
    PRIMITIVES,
    Genotype,
    GenotypeError,
    edge_list,
    edge_name,
    known_primitives,
    num_edges,
    require_num_groups,
    unknown_primitive,
)

if TYPE_CHECKING:
    from optuna import Trial


def derivable(primitives: Sequence[str]) -> tuple[str, ...]:
    """The candidates without repetition and without ``none``, which a search never derives (Eqs. 14, 16).

    Raises:
        mmhoga.genotype.GenotypeError: an unknown candidate.
        ValueError: no candidate is left.
    """
    for name in primitives:
        if name not in known_primitives():
            raise GenotypeError(f'primitives: {unknown_primitive(name)}')
    names = tuple(name for name in dict.fromkeys(primitives) if name != 'none')
    if not names:
        raise ValueError("primitives: at least one candidate other than 'none' is needed.")
    return names


def to_parameters(genotype: Genotype) -> dict[str, str]:
    """The parameters of a genotype: ``{'o_0_0': 'se', 'o_0_1': 'cbam', ...}``."""
    return {edge_name(*edge): genotype.operation(*edge) for edge in edge_list(genotype.num_groups)}


def from_parameters(parameters: Mapping[str, Any], num_groups: int) -> Genotype:
    """The genotype of a trial's parameters. The inverse of :func:`to_parameters`."""
    return Genotype(tuple(tuple(parameters[edge_name(j, k)] for j in range(k + 1)) for k in range(num_groups)))


def suggest_genotype(trial: Trial, num_groups: int, primitives: Sequence[str]) -> Genotype:
    """Let the study's sampler choose the operation of each edge."""
    names = derivable(primitives)
    chosen = {edge_name(*edge): trial.suggest_categorical(edge_name(*edge), names) for edge in edge_list(num_groups)}
    return from_parameters(chosen, num_groups)


def sample_genotypes(
    count: int, *, num_groups: int = 4, primitives: Sequence[str] = PRIMITIVES, seed: int = 0
) -> list[Genotype]:
    """Distinct random genotypes, the baseline of a search (the paper's Rand_HOGA, Table 6).

    Each edge is drawn uniformly from the candidates except ``none``. The first n genotypes do not depend on ``count``,
    so a study can be extended. A seed gives the same genotypes on every machine and version of Python.

    Raises:
        ValueError: there are fewer distinct genotypes than ``count``.
        mmhoga.genotype.GenotypeError: an unknown candidate.
    """
    names = derivable(primitives)
    require_num_groups(num_groups)
    if type(count) is not int or count < 0:
        raise ValueError(f'The number of genotypes must be an integer of at least 0, not {reprlib.repr(count)}.')
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
