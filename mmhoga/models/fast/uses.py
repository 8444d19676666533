"""The number of uses of each input and node of a derived cell."""

from __future__ import annotations

from typing import NamedTuple

from mmhoga.models.fast.schedule import Batch

Edge = tuple[int, int]


class Uses(NamedTuple):
    """For F_0 to F_{K-1} and then for U_0 to U_{K-1}.

    A node whose only edge is ``skip_connect`` is another one, or an input.
    """

    origins: tuple[int, ...]  # what each is: its own index, or a lower one
    counts: tuple[int, ...]  # of uses, with those of the nodes that are it; at least 1 for an input


def count_uses(
    levels: tuple[tuple[Batch, ...], ...], skips: tuple[Edge, ...], num_groups: int, from_inputs: bool
) -> Uses:
    """The uses in Eqs. (2) and (3).

    Args:
        skips: the edges with ``skip_connect``.
        from_inputs: whether the summary is of the inputs, not of the nodes.

    Example:
        >>> from mmhoga.genotype import Genotype
        >>> from mmhoga.models.fast.schedule import schedule
        >>> genotype = Genotype.from_config([['skip_connect'], ['none', 'se']])
        >>> count_uses(schedule(genotype), ((0, 0),), 2, False)
        Uses(origins=(0, 1, 0, 3), counts=(3, 2, 0, 2))
    """
    batches = [batch for level in levels for batch in level]
    ends = [k for batch in batches for _, k in batch.edges]
    origins = list(range(2 * num_groups))
    counts = [0] * len(origins)

    def source(edge: Edge) -> int:
        return edge[1] if edge[0] == edge[1] else num_groups + edge[0]

    def use(index: int, count: int) -> None:
        counts[origins[index]] += count

    for k in range(num_groups):
        own = [edge for edge in skips if edge[1] == k]
        if len(own) == 1 and k not in ends:
            origins[num_groups + k] = origins[source(own[0])]
        else:
            for edge in own:
                use(source(edge), 1)
        use(num_groups + k, 1)
        use(k if from_inputs else num_groups + k, 1)
    for batch in batches:
        for edge in batch.edges:
            use(source(edge), uses_of(batch.primitive))
    return Uses(tuple(origins), (*(max(1, count) for count in counts[:num_groups]), *counts[num_groups:]))


def uses_of(primitive: str) -> int:
    """Of an edge's input: for its maps and its gate; CBAM pools it twice."""
    return 3 if primitive == 'cbam' else 2
