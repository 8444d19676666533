"""Which modules of a derived cell run together, whether they still can, and their stacked weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from mmhoga.genotype import PRIMITIVES, edge_list, edge_name
from mmhoga.models.fast.joint_cell import CellWeights, Structure, Weights
from mmhoga.models.fast.joint_folding import Folder
from mmhoga.models.fast.joint_weights import Layers, Mlp, Stage, channel_mlps, live, stage_layers, update
from mmhoga.models.fast.kernels.convolutions import PointwiseConv2d
from mmhoga.models.fast.kernels.modes import traced
from mmhoga.models.fast.kernels.norms import NarrowBatchNorm2d
from mmhoga.models.fast.schedule import schedule
from mmhoga.models.operations import OPERATIONS, DoubledAttention

# The layers of a cell as it was built. A cell with others, such as SyncBatchNorm, runs module by module.
LAYERS = (nn.Sequential, nn.Conv2d, PointwiseConv2d, nn.BatchNorm2d, NarrowBatchNorm2d, nn.ReLU)


class FusedWeights(nn.Module):
    """Folded weights as buffers, for a cell that is fused."""

    def __init__(self, form: JointForm) -> None:
        super().__init__()
        self.structure = form.structure
        weights = form.folded()
        batches = [
            [own._replace(mlp=_doubled(own.mlp, batch.primitive)) for batch, own in zip(level, pair)]
            for level, pair in zip(form.structure.levels, weights.batches)
        ]
        self._names = _replaced(weights._replace(batches=batches), Tensor, self._store)

    def weights(self) -> CellWeights:
        return _replaced(self._names, str, self._buffers.__getitem__)

    def _store(self, tensor: Tensor) -> str:
        name = f'weight{len(self._buffers)}'
        self.register_buffer(name, tensor.detach().clone())
        return name


class JointForm:
    """The modules of a cell, by batch of edges.

    Args:
        cell: a :class:`mmhoga.models.HOGA`. Its tensors are read in every forward pass, so they may be replaced.
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.places = [
            (module, name, child, type(child)) for module in cell.modules() for name, child in module._modules.items()
        ]
        edges = edge_list(cell.num_groups)
        self.structure = Structure(
            levels=schedule(cell.genotype),
            skips=[edge for edge in edges if cell.genotype.operation(*edge) == 'skip_connect'],
            num_groups=cell.num_groups,
            summary=cell.summary,
            factor=2 if isinstance(cell.output_attention, DoubledAttention) else 1,
        )
        self.batches = [batch for level in self.structure.levels for batch in level]
        self.operations = [[cell.edges[edge_name(*edge)] for edge in batch.edges] for batch in self.batches]
        self.built_in_edges = [edge_name(*edge) for edge in edges if cell.genotype.operation(*edge) in PRIMITIVES]
        built_in = [batch.primitive in PRIMITIVES for batch in self.batches]
        self.standard = all(map(_is_standard, (cell.phi, cell.summary_attention, cell.output_attention))) and all(
            _is_standard(operation) for own, known in zip(self.operations, built_in) if known for operation in own
        )
        if not self.standard:
            return
        stages = [stage_layers(own) if known else [] for own, known in zip(self.operations, built_in)]
        self.ends = [len(own) for own in stages]
        self.layers: list[Layers] = [stage for own in (*stages, stage_layers([cell.phi])) for stage in own]
        self.norms = [norm for stage in self.layers for norm in stage.norms]
        mlps = [channel_mlps(own) if known else [] for own, known in zip(self.operations, built_in)]
        self.has_mlp = [bool(own) for own in mlps]
        self.mlps = [own for own in (*mlps, [cell.summary_attention], [cell.output_attention]) if own]
        self.folder = Folder(self.layers, self.mlps)

    def is_of(self, cell: Any) -> bool:
        """Whether this is the form of ``cell``, and no module in it was replaced or got another class."""
        return self.cell is cell and all(
            module._modules.get(name) is child and type(child) is kind for module, name, child, kind in self.places
        )

    def is_standard(self) -> bool:
        """Whether the layers are as they were built, and the norms are in one mode."""
        return self.standard and all(
            (norm.training, norm.eps) == (self.norms[0].training, self.norms[0].eps)
            and norm.track_running_stats
            and norm.momentum is not None
            and norm.affine
            for norm in self.norms
        )

    def is_hooked(self) -> bool:
        """Whether the modules must be called, for their hooks."""
        return _has_any_global_hook() or any(
            child._forward_hooks or child._forward_pre_hooks or child._backward_hooks or child._backward_pre_hooks
            for _, _, child, _ in self.places
        )

    def folded(self) -> CellWeights:
        """Weights for inference, with the norms folded in."""
        weights = self._by_batch(*self.folder())
        bias: Any = weights.phi[-1].convs[-1].bias
        return weights._replace(squeezed_bias=weights.output.squeeze @ bias)

    def weights(self, x: Tensor) -> CellWeights:
        """The weights for a forward pass on ``x``.

        The norms are folded in for inference in full precision. When the operators are recorded, the compiler decides.
        """
        frozen = not self.norms[0].training and not torch.is_grad_enabled() and not traced()
        precise = x.dtype in (torch.float32, torch.float64) and x.dtype == self.norms[0].weight.dtype
        if frozen and precise and not _is_autocast(x):
            return self.folded()
        return self._by_batch(*live(self.layers, self.mlps))

    def update(self, weights: CellWeights) -> None:
        """Update the running statistics, after a forward pass in training mode."""
        if self.norms[0].training:
            stages = [stage for level in weights.batches for own in level for stage in own.stages]
            update(self.layers, [*stages, *weights.phi])

    def _by_batch(self, stages: list[Stage], mlps: list[Mlp]) -> CellWeights:
        remaining_stages, remaining_mlps = iter(stages), iter(mlps)
        own = iter(
            Weights(
                [next(remaining_stages) for _ in range(count)],
                next(remaining_mlps) if has_mlp else None,
                () if batch.primitive in PRIMITIVES else operations,
            )
            for batch, count, has_mlp, operations in zip(self.batches, self.ends, self.has_mlp, self.operations)
        )
        batches = [[next(own) for _ in level] for level in self.structure.levels]
        summary, output = remaining_mlps
        return CellWeights(batches, summary, list(remaining_stages), output)


def _doubled(mlp: Mlp | None, primitive: str) -> Mlp | None:
    """The second layer of an MLP for two poolings, side by side, so that a product adds them."""
    if mlp is None or primitive == 'se':
        return mlp
    return mlp._replace(excite=torch.cat((mlp.excite, mlp.excite), 2))


def _is_standard(module: nn.Module) -> bool:
    return all(type(layer) in (*LAYERS, *_CLASSES) for layer in module.modules())


def _replaced(tree: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """The same nested structure with ``function(leaf)`` for each leaf of a type."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, dict):
        return {key: _replaced(value, kind, function) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_replaced(value, kind, function) for value in tree]
    if hasattr(tree, '_fields'):
        return type(tree)(*(_replaced(value, kind, function) for value in tree))
    return tree


def _is_autocast(x: Tensor) -> bool:
    try:
        return torch.is_autocast_enabled(x.device.type)
    except TypeError:  # before torch 2.4
        return torch.is_autocast_enabled() or torch.is_autocast_cpu_enabled()


_CLASSES = {DoubledAttention, *(getattr(OPERATIONS[name], 'func', OPERATIONS[name]) for name in PRIMITIVES)}
