"""The gates of a HOGA cell for an image. Every operation of a cell is ``gate(x) * x`` with a gate in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmhoga.genotype import Genotype, edge_list, edge_name
from mmhoga.models.hoga import HOGA
from mmhoga.models.hooks import find_layer, hooked, undisturbed


@dataclass(frozen=True)
class CellMaps:
    """Gates and nodes of a cell for N inputs, with K groups of c = C / K channels each.

    Attributes:
        genotype: the genotype of the cell.
        gates: ``(N, c, H, W)`` in [0, 1] per edge (j, k): U_j -> U_k, or F_k -> U_k if j = k.
        nodes: U_k, ``(N, K, c, H, W)``.
        summary_gate: channel attention on the summary, ``(N, c)``.
        output_gate: channel attention on the output, ``(N, C)``; in [0, 2] for a cell with ``start='identity'``.
    """

    genotype: Genotype
    gates: dict[tuple[int, int], Tensor]
    nodes: Tensor
    summary_gate: Tensor
    output_gate: Tensor

    def gate_map(self, edge: tuple[int, int]) -> Tensor:
        """The mean gate over the channels of the group, ``(N, H, W)`` in [0, 1]."""
        return self.gates[edge].mean(1)

    def node_map(self, node: int) -> Tensor:
        """The mean magnitude over channels, ``(N, H, W)``, divided by the maximum over all nodes of the image."""
        magnitude = self.nodes.abs().mean(2)  # (N, K, H, W)
        highest = magnitude.amax((1, 2, 3))[:, None, None]
        return magnitude[:, node] / highest.clamp(min=torch.finfo(magnitude.dtype).tiny)


def hoga_cells(model: nn.Module) -> list[str]:
    """The names of all HOGA cells in the order of the network.

    Raises:
        ValueError: the model has none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, HOGA)]
    if not names:
        raise ValueError(
            f'{type(model).__name__} has no HOGA cell. The cells of a supernet cannot be drawn: train a network '
            'with the genotype of the search first.'
        )
    return names


def attention_maps(model: nn.Module, inputs: Tensor, cell: str, forward: Callable[[Tensor], Any]) -> CellMaps:
    """Run the model once and read the gates of one cell. The model is unchanged afterwards.

    Args:
        model: contains the cell.
        inputs: ``(N, C, H, W)``, preprocessed.
        cell: name of a HOGA cell, one of :func:`hoga_cells`.
        forward: runs the model, or the part of it with the cell, on the inputs.

    Raises:
        ValueError: the layer does not exist (near names are listed), is not a HOGA, or did not run.
    """
    module = find_layer(model, cell)
    if not isinstance(module, HOGA):
        cells = ', '.join(hoga_cells(model))
        raise ValueError(f'The layer {cell!r} is a {type(module).__name__}, not a HOGA. HOGA cells: {cells}.')
    edges = edge_list(module.num_groups)
    parts: dict[Any, Any] = {edge: module.edges[edge_name(*edge)] for edge in edges}
    parts.update(summary=module.summary_attention, output=module.output_attention)
    recorded: dict[Any, Tensor] = {}

    def keep_gate(key: Any, part: nn.Module, args: Any, output: Tensor) -> None:
        # In eval mode a gate depends on its input alone, so this is the gate that the operation has just applied.
        recorded[key] = parts[key].gate(args[0]).expand_as(args[0].x).squeeze(1).clone()

    def keep_nodes(phi: nn.Module, args: Any, output: Tensor) -> None:
        recorded['nodes'] = args[0][:, : module.in_channels].clone()  # the summary follows them

    hooks = [(part, partial(keep_gate, key)) for key, part in parts.items()]
    with undisturbed(model), hooked([*hooks, (module.phi, keep_nodes)]), torch.no_grad():
        forward(inputs)
    if 'output' not in recorded:
        raise ValueError(f'The cell {cell!r} did not run in this forward pass.')
    return CellMaps(
        genotype=module.genotype,
        gates={edge: recorded[edge] for edge in edges},
        nodes=recorded['nodes'].unflatten(1, (module.num_groups, module.group_channels)),
        summary_gate=recorded['summary'][:, :, 0, 0],
        output_gate=recorded['output'][:, :, 0, 0],
    )
