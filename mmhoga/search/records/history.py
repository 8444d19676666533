"""What a search says about itself after an epoch: one entry of its history, one line, the scalars of a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmhoga.genotype import Genotype, edge_list


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
        scalars[f'{prefix}entropy/o_{j}_{k}'] = entropy
        scalars.update({f'{prefix}o_{j}_{k}/{name}': p for name, p in zip(primitives, row)})
    scalars.update({f'{prefix}loss/{name}': value for name, value in entry.get('loss', {}).items()})
    return scalars


def _figure(number: float) -> str:
    for size, unit in ((1e9, ' G'), (1e6, ' M'), (1e3, ' k')):
        if number >= size:
            return f'{number / size:.3g}{unit}'
    return f'{number:.0f}'
