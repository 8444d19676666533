"""The files in which a search leaves the selected genotype."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype
from mmhoga.search.derived import write_cells
from mmhoga.search.model import SearchModel
from mmhoga.search.selection.derived_network import derived_architecture

CANDIDATES = 'candidates.json'
WEIGHTS = 'derived.pth'


def write_results(
    folder: Path,
    cfg: Mapping[str, Any],
    model: SearchModel,
    genotypes: Mapping[str, Genotype],
    selection: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    *,
    origin: Path,
) -> None:
    """Write the selected genotype and what follows from it. Each file is written whole or not at all.

    - ``genotype.json``, in a folder per stage if each has its own alpha; ``meta`` is that of the search, and
      ``meta['selection']`` has the method and its score;
    - ``plugins.py`` or ``insertion.py``: a config with the cells to train;
    - ``derived.pth``: the weights of the derived network, inherited from the supernet, for ``load_from``;
    - ``candidates.json``, if the method compares: ``{"format": "mmhoga.candidates", "version": 1, "method": ...,
      "metric": ...}`` and either ``candidates``, best first, each with its ``metrics`` and ``genotype`` (rows, or rows
      by stage); or ``removals``, one per edge in the order of the decisions, with the metric ``without`` each
      candidate and the one that was ``kept``.

    Args:
        folder: created if it does not exist.
        cfg: the config of the search.
        model: not wrapped.
        genotypes: by stage; a single alpha has the empty name.
        selection: the method and its score.
        record: the content of ``candidates.json``; None removes a file of an earlier selection.
        origin: the work_dir of the search, with the genotypes of its last epoch.
    """
    for stage, genotype in genotypes.items():
        path = Path(folder, stage, 'genotype.json')
        path.parent.mkdir(parents=True, exist_ok=True)
        last = Path(origin, stage, 'genotype.json')
        meta = dict(Genotype.load(last).meta) if last.is_file() else {}
        if 'placement' in meta and genotype != Genotype.load(last):  # its costs are those of the other genotype
            meta['placement'] = {key: meta['placement'][key] for key in ('blocks', 'cells')}
        Genotype(genotype.edges, {**meta, 'selection': dict(selection)}).save(path)
    write_cells(folder, cfg, genotypes, model)
    weights = io.BytesIO()
    torch.save({'meta': {}, 'state_dict': dict(derived_architecture(model, genotypes).state_dict())}, weights)
    write_atomic(folder / WEIGHTS, weights.getvalue())
    if record is None:
        (folder / CANDIDATES).unlink(missing_ok=True)
    else:
        content = {'format': 'mmhoga.candidates', 'version': 1, 'method': selection['method'], **record}
        write_atomic(folder / CANDIDATES, json.dumps(content, indent=1) + '\n')
