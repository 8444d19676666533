"""The order of the edges of a derived cell, and which of them run together."""

from __future__ import annotations

from typing import NamedTuple

from mmhoga.genotype import Genotype


class Batch(NamedTuple):
    """Edges with one primitive whose inputs are ready at the same time."""

    primitive: str
    edges: tuple[tuple[int, int], ...]  # (j, k): U_j -> U_k; j = k: F_k -> U_k


def schedule(genotype: Genotype) -> tuple[tuple[Batch, ...], ...]:
    """The batches of each level; ``none`` and ``skip_connect`` have nothing to compute and are in none.

    The inputs F_k are ready at level 0. The output of an edge is ready one level after its input, that of
    ``skip_connect`` with its input, and a node with the last of its edges.

    Example:
        >>> from mmhoga.genotype import Genotype
        >>> for batch in sum(schedule(Genotype.from_config('autola')), ()):
        ...     print(*batch)
        norm_3x3 ((0, 1), (0, 2), (3, 3))
        spatial_3x3 ((1, 1),)
        cbam ((2, 2),)
        norm_3x3_d2 ((1, 3),)
        spatial_3x3 ((2, 3),)
    """
    levels: dict[int, dict[str, list[tuple[int, int]]]] = {}
    ready: list[int] = []
    for k in range(genotype.num_groups):
        ready.append(0)
        for j in range(k + 1):
            primitive = genotype.operation(j, k)
            if primitive == 'none':
                continue
            level = 0 if j == k else ready[j]
            if primitive != 'skip_connect':
                levels.setdefault(level, {}).setdefault(primitive, []).append((j, k))
                level += 1
            ready[k] = max(ready[k], level)
    return tuple(
        tuple(Batch(primitive, tuple(edges)) for primitive, edges in levels[level].items()) for level in sorted(levels)
    )
