"""What a search says about itself after an epoch: one entry of its history, one line, the scalars of a curve."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmhoga.genotype import Genotype, edge_list, edge_name, num_edges

FORMAT = 'mmhoga.search_history'
VERSION = 1


@dataclass(frozen=True)
class SearchHistory:
    """Alpha over epochs.

    Attributes:
        num_groups: K.
        primitives: names of alpha's columns.
        epochs: (E,) epoch numbers, from 1.
        alpha: (E, K(K+1)/2, M), rows in the order of :func:`mmhoga.genotype.edge_list`.
        genotypes: what the search would have chosen after each epoch.
        further: what else was recorded after each epoch, by name: numbers of edges, costs, losses, as far as there are.
    """

    num_groups: int
    primitives: tuple[str, ...]
    epochs: tuple[int, ...]
    alpha: np.ndarray
    genotypes: tuple[Genotype, ...]
    further: tuple[Mapping[str, float], ...] = ()

    @property
    def edges(self) -> list[tuple[int, int]]:
        """(source, target) of alpha's rows."""
        return edge_list(self.num_groups)

    @property
    def probabilities(self) -> np.ndarray:
        """softmax(alpha) over the operations (Eq. 12): (E, K(K+1)/2, M)."""
        shifted = np.exp(self.alpha - self.alpha.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    @property
    def entropy(self) -> np.ndarray:
        """Of each edge's probabilities, in nats: (E, K(K+1)/2)."""
        p = self.probabilities
        return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)

    @property
    def max_entropy(self) -> float:
        """log(M): every operation equally likely."""
        return math.log(len(self.primitives))

    def changes(self) -> list[tuple[int, tuple[int, int], str, str]]:
        """(epoch, edge, from, to) for every edge whose chosen operation changed."""
        steps = zip(self.epochs[1:], self.genotypes, self.genotypes[1:])
        return [
            (epoch, edge, before.operation(*edge), after.operation(*edge))
            for epoch, before, after in steps
            for edge in self.edges
            if before.operation(*edge) != after.operation(*edge)
        ]


def epoch_entry(epoch: int, alpha: Tensor, primitives: Sequence[str], genotype: Genotype) -> dict[str, Any]:
    """One epoch of ``search_history.json``.

    Args:
        epoch: from 1.
        alpha: ``(K (K + 1) / 2, M)``.
        primitives: its columns.
        genotype: what is derived from it.

    Returns:
        ``epoch``, ``alpha``, ``entropy`` (of softmax(alpha) on each edge, nats), ``genotype`` (rows), ``skip_edges``
        (of the genotype) and ``none_edges`` (where ``none`` is the most likely candidate, which no genotype has).
    """
    rows = alpha.detach().double().cpu()
    names = [name for row in genotype.edges for name in row]
    likeliest = [primitives[i] for i in rows.argmax(1).tolist()]
    return {
        'epoch': epoch,
        'alpha': rows.tolist(),
        'entropy': torch.distributions.Categorical(logits=rows).entropy().tolist(),
        'genotype': [list(row) for row in genotype.edges],
        'skip_edges': names.count('skip_connect'),
        'none_edges': likeliest.count('none'),
    }


def epoch_line(entry: Mapping[str, Any]) -> str:
    """The genotype, and what to know beside it, in one line."""
    entropy = entry['entropy']
    parts = [
        ' | '.join(', '.join(row) for row in entry['genotype']),
        f'mean entropy {sum(entropy) / len(entropy):.3f} nats',
        f'of {len(entropy)} edges {entry["skip_edges"]} skip, {entry["none_edges"]} none',
    ]
    if 'params' in entry:
        parts.append(f'edges {_figure(entry["params"])} params, {_figure(entry["macs"])} MACs')
    if entry.get('loss'):
        parts.append('loss ' + ', '.join(f'{name} {value:.4g}' for name, value in entry['loss'].items()))
    return '; '.join(parts)


def epoch_scalars(entry: Mapping[str, Any], primitives: Sequence[str], stage: str = '') -> dict[str, float]:
    """The entry as curves: ``alpha/entropy``, ``alpha/skip_edges``, ``alpha/o_0_1/norm_3x3``, ..."""
    prefix = f'alpha/{stage}/' if stage else 'alpha/'
    rows = torch.tensor(entry['alpha'])
    edges = edge_list(len(entry['genotype']))
    scalars = {f'{prefix}entropy': sum(entry['entropy']) / len(entry['entropy'])}
    for key in ('skip_edges', 'none_edges', 'params', 'macs'):
        if key in entry:
            scalars[prefix + key] = entry[key]
    for (j, k), entropy, row in zip(edges, entry['entropy'], rows.softmax(-1).tolist()):
        scalars[f'{prefix}entropy/{edge_name(j, k)}'] = entropy
        scalars.update({f'{prefix}{edge_name(j, k)}/{name}': p for name, p in zip(primitives, row)})
    scalars.update({f'{prefix}loss/{name}': value for name, value in entry.get('loss', {}).items()})
    return scalars


def _figure(number: float) -> str:
    for size, unit in ((1e9, ' G'), (1e6, ' M'), (1e3, ' k')):
        if number >= size:
            return f'{number / size:.3g}{unit}'
    return f'{number:.0f}'


def read_history(path: str | os.PathLike) -> SearchHistory:
    """Read ``search_history.json``; of an epoch that appears twice, the later record counts.

    Raises:
        ValueError: not JSON, another format or version, or an epoch whose alpha has another shape.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not valid JSON, or was cut off: {error}') from error
    found = (data.get('format'), data.get('version')) if isinstance(data, dict) else type(data).__name__
    if found != (FORMAT, VERSION):
        raise ValueError(f'{path} is {found}; expected format {FORMAT!r}, version {VERSION}.')
    try:
        groups, primitives = int(data['num_groups']), tuple(data['primitives'])
        records = {int(record['epoch']): record for record in data['epochs']}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}: num_groups, primitives or epochs are missing or malformed ({error!r}).') from error
    shape = (num_edges(groups), len(primitives))
    epochs = tuple(sorted(records))
    alpha = [_alpha(records[epoch], shape, f'{path}, epoch {epoch}') for epoch in epochs]
    return SearchHistory(
        num_groups=groups,
        primitives=primitives,
        epochs=epochs,
        alpha=np.stack(alpha) if alpha else np.zeros((0, *shape)),
        genotypes=tuple(_genotype(records[epoch], f'{path}, epoch {epoch}') for epoch in epochs),
        further=tuple(_further(records[epoch]) for epoch in epochs),
    )


def _further(record: Mapping[str, Any]) -> dict[str, float]:
    """Every other number of a record, those of a dict as ``loss/val``; what is no number is left out."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found.update({f'{key}/{name}': number for name, number in value.items()})
        elif key != 'epoch':
            found[key] = value
    return {key: value for key, value in found.items() if _is_number(value)}


def _alpha(record: dict[str, Any], shape: Sequence[int], where: str) -> np.ndarray:
    try:
        alpha = np.asarray(record.get('alpha'), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: alpha is not a table of numbers ({error}).') from error
    if alpha.shape != tuple(shape):
        raise ValueError(f'{where}: alpha has shape {alpha.shape}, expected {tuple(shape)} (edges, primitives).')
    if not np.isfinite(alpha).all():
        raise ValueError(f'{where}: alpha has values that are not finite; the search diverged.')
    return alpha


def _genotype(record: dict[str, Any], where: str) -> Genotype:
    try:
        return Genotype.from_config(record.get('genotype'))
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
