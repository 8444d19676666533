"""The gates that a HOGA computes for an image: edge by edge, node by node.

Every operation of the cell is ``gate(x) * x``. SE's only gate is one number a channel; HOGA's are maps, and its graph
says which of them acts on what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmhoga.genotype import Genotype, edge_list, edge_name
from mmhoga.models.hoga import HOGA
from mmhoga.models.hooks import find_layer, hooked, undisturbed


@dataclass(frozen=True)
class CellMaps:
    """What one cell did with N inputs; K groups, each of c = C / K channels.

    Attributes:
        genotype: the cell's.
        gates: of edge (j, k), U_j -> U_k, or for j = k F_k -> U_k: ``(N, c, H, W)`` in [0, 1].
        nodes: U_k: ``(N, K, c, H, W)``.
        summary_gate: of the channel attention on the summary, ``(N, c)``.
        output_gate: of the channel attention at the end, ``(N, C)``.
    """

    genotype: Genotype
    gates: dict[tuple[int, int], Tensor]
    nodes: Tensor
    summary_gate: Tensor
    output_gate: Tensor

    def gate_map(self, edge: tuple[int, int]) -> Tensor:
        """Mean over the group's channels, ``(N, H, W)`` in [0, 1]."""
        return self.gates[edge].mean(1)

    def node_map(self, node: int) -> Tensor:
        """Mean magnitude over the group's channels, ``(N, H, W)``, over the highest of all nodes of that image."""
        magnitude = self.nodes.abs().mean(2)  # (N, K, H, W)
        highest = magnitude.amax((1, 2, 3))[:, None, None]
        return magnitude[:, node] / highest.clamp(min=torch.finfo(magnitude.dtype).tiny)


def hoga_cells(model: nn.Module) -> list[str]:
    """The names of all HOGA cells, in the order of the network.

    Raises:
        ValueError: there is none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, HOGA)]
    if not names:
        raise ValueError(
            f'{type(model).__name__} has no HOGA cell to look into. (A supernet has mixed edges: look at a network '
            'that was trained with the genotype it found.)'
        )
    return names


def attention_maps(model: nn.Module, inputs: Tensor, cell: str, forward: Callable[[Tensor], Any]) -> CellMaps:
    """Run the model once and read the gates of one cell.

    Args:
        model: left as it was.
        inputs: ``(N, C, H, W)``, as the model takes them.
        cell: name of a HOGA, one of :func:`hoga_cells`.
        forward: runs the model, or the part of it that has the cell, on the inputs.

    Raises:
        ValueError: no such layer (near names are listed), or one that is no HOGA or did not run.
    """
    module = find_layer(model, cell)
    if not isinstance(module, HOGA):
        cells = ', '.join(hoga_cells(model))
        raise ValueError(f'The layer {cell!r} is a {type(module).__name__}, not a HOGA. HOGA cells: {cells}.')
    found: dict[Any, Tensor] = {}
    edges = edge_list(module.num_groups)
    hooks: list[tuple[nn.Module, Callable[..., None]]] = [
        (module.edges[edge_name(*edge)], partial(_keep_gate, found, edge)) for edge in edges
    ]
    hooks += [
        (module.summary_attention, partial(_keep_gate, found, 'summary')),
        (module.output_attention, partial(_keep_gate, found, 'output')),
        (module.phi, partial(_keep_input, found, 'concatenation')),
    ]
    with undisturbed(model), hooked(hooks), torch.no_grad():
        forward(inputs)
    if 'output' not in found:
        raise ValueError(f'The cell {cell!r} did not run in this forward pass.')
    nodes = found['concatenation'][:, : module.in_channels]  # the summary is behind them
    return CellMaps(
        genotype=module.genotype,
        gates={edge: found[edge] for edge in edges},
        nodes=nodes.unflatten(1, (module.num_groups, module.group_channels)),
        summary_gate=found['summary'][:, :, 0, 0],
        output_gate=found['output'][:, :, 0, 0],
    )


def _keep_gate(found: dict[Any, Tensor], key: Any, module: nn.Module, args: Any, output: Tensor) -> None:
    # In eval mode the gate is a function of the source alone, so computing it again gives the one that was applied.
    (source,) = args
    found[key] = cast(Any, module).gate(source).expand_as(source.x).squeeze(1).clone()


def _keep_input(found: dict[Any, Tensor], key: Any, module: nn.Module, args: Any, output: Tensor) -> None:
    found[key] = args[0].clone()
