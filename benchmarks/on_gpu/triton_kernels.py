"""``HOGA(triton=True)``: cells against float64 on the CPU, then ResNet-50 against the plain form of the same cells.

On a CPU it needs Triton's interpreter, ``TRITON_INTERPRET=1``; without it there is one row, which says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from on_gpu.correctness import measure_cells
from on_gpu.networks import NETWORKS, measure_networks
from on_gpu.results import Results
from torch import nn

from mmhoga.genotype import PRIMITIVES
from mmhoga.models import HOGA
from mmhoga.models.fast.triton.launch import usable


def measure(results: Results) -> None:
    if not usable(torch.empty(1, device=results.device)):
        results.row(skipped='Triton is not installed, or there is neither a GPU nor its interpreter')
        return
    measure_cells(results, cells(16 if results.toy else 64))
    if results.on_gpu:
        plugins = [dict(cfg=dict(type='mmhoga.HOGA', genotype='autola', triton=True), position='after_conv2')]
        compared = {name: NETWORKS[name] for name in ('plain', 'HOGA')}
        measure_networks(results, {**compared, 'HOGA Triton': plugins})


def cells(channels: int) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Cells of each operation, and ``autola``."""
    genotypes = {primitive: [[primitive] * (k + 1) for k in range(4)] for primitive in PRIMITIVES}
    for name, genotype in {**genotypes, 'autola': 'autola'}.items():
        yield name, lambda genotype=genotype: HOGA(channels, genotype=genotype, triton=True)
