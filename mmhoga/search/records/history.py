"""The record of a search, ``search_history.json``: written after each epoch, read by reports and plots.

The file holds one JSON object. ``num_groups`` is K, ``primitives`` names the columns of alpha, ``cell_inputs`` maps the
name of each cell to the (C, H, W) of its input, and ``epochs`` holds one object per epoch::

    {"format": "mmhoga.search_history", "version": 1, "num_groups": 4, "primitives": ["none", ...],
     "cell_inputs": {"backbone.layer1.0.after_conv2_plugin1": [16, 32, 32], ...},
     "epochs": [{"epoch": 1, "alpha": [[...], ...], "entropy": [...], "genotype": [["se"], ...],
                 "skip_edges": 3, "none_edges": 0, "params": 5140, "macs": 77800,
                 "loss": {"trainA": 1.5, "trainB": 1.6, "val": 1.4}}, ...]}

``entropy`` is the entropy of softmax(alpha) per edge, in nats, whatever the temperature; ``temperature`` is there
if it is not 1. ``skip_edges`` counts the ``skip_connect`` edges of the
genotype. ``none_edges`` counts the edges where ``none`` has the largest alpha; a genotype never contains ``none``.
A search with a placement adds ``placement`` to each epoch (:func:`mmhoga.search.placement.record`): for each block the
K to choose from (0: no attention), beta and the K that it keeps; the number of cells kept, and their whole cost::

    "placement": {"blocks": {"backbone.layer1.0.hoga": {"num_groups": [0, 4], "beta": [-0.2, 0.2], "kept": 4}, ...},
                  "cells": 2, "params": 7300, "macs": 181000}

``params`` and ``macs`` of the epoch are those of the edges of the cells that are kept.
Readers need ``epoch``, ``alpha`` and ``genotype``; every other number of an epoch is optional.
"""

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

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype, edge_list, edge_name, num_edges

FORMAT = 'mmhoga.search_history'
VERSION = 1


def epoch_entry(epoch: int, alpha: Tensor, primitives: Sequence[str], genotype: Genotype) -> dict[str, Any]:
    """The record of one epoch, without costs and losses, from alpha ``(K (K + 1) / 2, M)`` and its genotype."""
    alpha = alpha.detach().double().cpu()
    return {
        'epoch': epoch,
        'alpha': alpha.tolist(),
        'entropy': torch.special.entr(alpha.softmax(-1)).sum(-1).tolist(),
        'genotype': [list(row) for row in genotype.edges],
        'skip_edges': sum(row.count('skip_connect') for row in genotype.edges),
        'none_edges': sum(primitives[column] == 'none' for column in alpha.argmax(1)),
    }


def write_history(
    path: Path, num_groups: int, primitives: Sequence[str], cell_inputs: Mapping, entries: Sequence[Mapping]
) -> None:
    """Write the file atomically. Creates its folder if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        'format': FORMAT,
        'version': VERSION,
        'num_groups': num_groups,
        'primitives': primitives,
        'cell_inputs': cell_inputs,
        'epochs': entries,
    }
    write_atomic(path, json.dumps(data) + '\n')


def read_json(path: Path) -> dict[str, Any]:
    """Read the file's JSON object, and check only its format and version.

    Raises:
        ValueError: not JSON, or another format or version.
    """
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(f'{path} is not valid JSON, or was cut off: {error}') from error
    kind = (data.get('format'), data.get('version')) if isinstance(data, dict) else type(data).__name__
    if kind != (FORMAT, VERSION):
        raise ValueError(
            f'{path} is not a search history: found {kind}; expected format {FORMAT!r}, version {VERSION}.'
        )
    return data


def read_history(path: str | os.PathLike) -> SearchHistory:
    """Read and check the file. If an epoch appears twice, the later record is used.

    Raises:
        ValueError: not JSON, another format or version, a missing key, or an invalid alpha or genotype.
    """
    path = Path(path)
    data = read_json(path)
    try:
        groups, primitives = int(data['num_groups']), tuple(data['primitives'])
        entries = {int(entry['epoch']): entry for entry in data['epochs']}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}: num_groups, primitives or epochs are missing or malformed ({error!r}).') from error
    epochs = tuple(sorted(entries))
    alpha, genotypes = np.zeros((len(epochs), num_edges(groups), len(primitives))), []
    for row, epoch in enumerate(epochs):
        try:
            alpha[row] = _alpha(entries[epoch], alpha.shape[1:])
            genotypes.append(Genotype.from_config(entries[epoch].get('genotype')))
        except ValueError as error:
            raise ValueError(f'{path}, epoch {epoch}: {error}') from error
    further = tuple(_further(entries[epoch]) for epoch in epochs)
    return SearchHistory(groups, primitives, epochs, alpha, tuple(genotypes), further)


@dataclass(frozen=True)
class SearchHistory:
    """Alpha over E epochs.

    Attributes:
        num_groups: K.
        primitives: the names of alpha's columns.
        epochs: (E,) epoch numbers, from 1.
        alpha: (E, K(K+1)/2, M), rows in the order of :func:`mmhoga.genotype.edge_list`.
        genotypes: (E,) the genotype derived after each epoch.
        further: (E,) every other number of the record, by name: edge counts, costs, and losses as ``loss/trainA``.
    """

    num_groups: int
    primitives: tuple[str, ...]
    epochs: tuple[int, ...]
    alpha: np.ndarray
    genotypes: tuple[Genotype, ...]
    further: tuple[Mapping[str, float], ...] = ()

    @property
    def edges(self) -> list[tuple[int, int]]:
        """(source, target) for each row of alpha."""
        return edge_list(self.num_groups)

    @property
    def probabilities(self) -> np.ndarray:
        """softmax(alpha) over the candidates (Eq. 12): (E, K(K+1)/2, M)."""
        return torch.from_numpy(self.alpha).softmax(-1).numpy()

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of :attr:`probabilities`, in nats: (E, K(K+1)/2)."""
        return torch.special.entr(torch.from_numpy(self.probabilities)).sum(-1).numpy()

    @property
    def max_entropy(self) -> float:
        """log(M), reached when all candidates are equally likely."""
        return math.log(len(self.primitives))

    def changes(self) -> list[tuple[int, tuple[int, int], str, str]]:
        """(epoch, edge, before, after) for every edge whose derived operation changed."""
        return [
            (epoch, edge, before.operation(*edge), after.operation(*edge))
            for epoch, before, after in zip(self.epochs[1:], self.genotypes, self.genotypes[1:])
            for edge in self.edges
            if before.operation(*edge) != after.operation(*edge)
        ]


def epoch_line(entry: Mapping[str, Any]) -> str:
    """An epoch's record as one line for the log."""
    entropy = entry['entropy']
    parts = [
        ' | '.join(', '.join(row) for row in entry['genotype']),
        f'mean entropy {sum(entropy) / len(entropy):.3f} nats',
        f'{entry["skip_edges"]} skip and {entry["none_edges"]} none of {len(entropy)} edges',
    ]
    if 'params' in entry:
        parts.append(f'edges {_short(entry["params"])} params, {_short(entry["macs"])} MACs')
    if 'placement' in entry:
        parts.append(placement_text(entry['placement']))
    if entry.get('loss'):
        parts.append('loss ' + ', '.join(f'{name} {value:.4g}' for name, value in entry['loss'].items()))
    return '; '.join(parts)


def placement_text(placement: Mapping[str, Any]) -> str:
    """The ``placement`` of a record in words: the number of cells, their cost, and the blocks without one."""
    kept = {block: choice['kept'] for block, choice in placement['blocks'].items()}
    text = f'attention in {placement["cells"]} of {len(kept)} blocks'
    if 'params' in placement:
        text += f' ({_short(placement["params"])} params, {_short(placement["macs"])} MACs)'
    left_out = [block for block, num_groups in kept.items() if not num_groups]
    return f'{text}, none in {", ".join(left_out)}' if left_out and placement['cells'] else text


def epoch_scalars(entry: Mapping[str, Any], primitives: Sequence[str], stage: str = '') -> dict[str, float]:
    """An epoch's record as curves: ``alpha/entropy``, ``alpha/skip_edges``, ``alpha/o_0_1/norm_3x3``, ...

    With a placement also the probability that a block gets an attention, ``alpha/placement/<block>``.
    """
    prefix = f'alpha/{stage}/' if stage else 'alpha/'
    scalars = {'entropy': sum(entry['entropy']) / len(entry['entropy'])}
    scalars.update({key: entry[key] for key in ('skip_edges', 'none_edges', 'params', 'macs') if key in entry})
    mix = torch.tensor(entry['alpha'], dtype=torch.float64).softmax(-1).tolist()
    for edge, entropy, row in zip(edge_list(len(entry['genotype'])), entry['entropy'], mix):
        scalars[f'entropy/{edge_name(*edge)}'] = entropy
        scalars.update({f'{edge_name(*edge)}/{name}': p for name, p in zip(primitives, row)})
    for block, choice in entry.get('placement', {}).get('blocks', {}).items():
        left_out = torch.tensor(choice['beta'], dtype=torch.float64).softmax(0)[0].item()
        scalars[f'placement/{block}'] = 1 - left_out
    scalars.update({f'loss/{name}': value for name, value in entry.get('loss', {}).items()})
    return {prefix + name: value for name, value in scalars.items()}


def _short(number: float) -> str:
    for size, unit in ((1e9, ' G'), (1e6, ' M'), (1e3, ' k')):
        if number >= size:
            return f'{number / size:.3g}{unit}'
    return f'{number:.0f}'


def _further(entry: Mapping[str, Any]) -> dict[str, float]:
    values: dict[str, Any] = {}
    for key, value in entry.items():
        values.update({f'{key}/{name}': v for name, v in value.items()} if isinstance(value, Mapping) else {key: value})
    del values['epoch']
    return {key: value for key, value in values.items() if type(value) in (int, float) and math.isfinite(value)}


def _alpha(entry: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    try:
        alpha = np.asarray(entry.get('alpha'), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'alpha is not a table of numbers ({error}).') from error
    if alpha.shape != shape:
        raise ValueError(f'alpha has shape {alpha.shape}, expected {shape} (edges, primitives).')
    if not np.isfinite(alpha).all():
        raise ValueError('alpha has values that are not finite; the search diverged.')
    return alpha
