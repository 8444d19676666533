"""Which modules of a derived cell run together, whether they still can, and their stacked weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from mmhoga.genotype import PRIMITIVES, edge_list, edge_name
from mmhoga.models.fast.joint_cell import CellWeights, Structure, Weights
from mmhoga.models.fast.joint_folding import Folder
from mmhoga.models.fast.joint_weights import (
    Layers,
    Mlp,
    MlpLayers,
    Stage,
    batch_statistics,
    channel_mlps,
    live,
    snapshot,
    stage_layers,
    update,
)
from mmhoga.models.fast.kernels.convolutions import PointwiseConv2d
from mmhoga.models.fast.kernels.modes import traced
from mmhoga.models.fast.kernels.norms import NarrowBatchNorm2d
from mmhoga.models.fast.schedule import schedule
from mmhoga.models.fast.uses import count_uses
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
        levels = schedule(cell.genotype)
        batches = [batch for level in levels for batch in level]
        built_in = [batch.primitive in PRIMITIVES for batch in batches]
        self.operations = [[cell.edges[edge_name(*edge)] for edge in batch.edges] for batch in batches]
        self.built_in_edges = [edge_name(*edge) for edge in edges if cell.genotype.operation(*edge) in PRIMITIVES]
        self.standard = all(map(_is_standard, (cell.phi, cell.summary_attention, cell.output_attention))) and all(
            _is_standard(operation) for own, known in zip(self.operations, built_in) if known for operation in own
        )
        if not self.standard:
            return
        stages = [stage_layers(own) if known else [] for own, known in zip(self.operations, built_in)]
        self.layers: list[Layers] = [stage for own in (*stages, stage_layers([cell.phi])) for stage in own]
        self.norms = [norm for stage in self.layers for norm in stage.norms]
        mlps = [channel_mlps(own) if known else [] for own, known in zip(self.operations, built_in)]
        self.mlps = [own for own in (*mlps, [cell.summary_attention], [cell.output_attention]) if own]
        self.folder = Folder(self.layers, self.mlps)
        skips = tuple(edge for edge in edges if cell.genotype.operation(*edge) == 'skip_connect')
        self.structure = Structure(
            levels=levels,
            stages=tuple(len(own) for own in stages),
            mlps=tuple(bool(own) for own in mlps),
            skips=skips,
            num_groups=cell.num_groups,
            summary=cell.summary,
            factor=2 if isinstance(cell.output_attention, DoubledAttention) else 1,
            uses=count_uses(levels, skips, cell.num_groups, cell.summary == 'inputs'),
            triton=cell.triton,
        )
        self.compilable = all(built_in)
        modules = [module for own in self.layers for same in (*own.convs, own.norms) for module in same]
        modules += [layer for same in self.mlps for mlp in same for layer in (mlp.squeeze, mlp.excite)]
        self.shapes = tuple(tuple(module.weight.shape) for module in modules)

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
        # torch has a function for this, but not before 2.1.
        anywhere = (
            torch_module._global_forward_hooks
            or torch_module._global_forward_pre_hooks
            or torch_module._global_backward_hooks
            or torch_module._global_backward_pre_hooks
        )
        return bool(anywhere) or any(
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

    def update(self, statistics: Sequence[Tensor]) -> None:
        """Update the running statistics, after a forward pass in training mode."""
        if self.norms[0].training:
            update(self.layers, statistics)

    def statistics(self, weights: CellWeights) -> list[Tensor]:
        """Those of the batch, for :meth:`update`."""
        stages = [stage for level in weights.batches for own in level for stage in own.stages]
        return batch_statistics(self.layers, [*stages, *weights.phi])

    def snapshot(self) -> tuple[list[Layers], list[list[MlpLayers]]]:
        """The tensors of the cell without its modules."""
        return snapshot(self.layers, self.mlps)

    def _by_batch(self, stages: list[Stage], mlps: list[Mlp]) -> CellWeights:
        return arranged(self.structure, stages, mlps, self.operations)


def arranged(
    structure: Structure, stages: Sequence[Stage], mlps: Sequence[Mlp], operations: Sequence[Sequence[Any]] = ()
) -> CellWeights:
    """The weights by level and batch.

    Args:
        stages: those of all batches, then those of phi.
        mlps: those of the batches that have one, then those of the summary and of the output.
        operations: the modules of each batch, if one is not of a primitive of mmhoga.
    """
    stages, mlps, index = list(stages), list(mlps), 0
    batches: list[list[Weights]] = []
    for level in structure.levels:
        batches.append([])
        for batch in level:
            own = [stages.pop(0) for _ in range(structure.stages[index])]
            mlp = mlps.pop(0) if structure.mlps[index] else None
            batches[-1].append(Weights(own, mlp, () if batch.primitive in PRIMITIVES else operations[index]))
            index += 1
    summary, output = mlps
    return CellWeights(batches, summary, stages, output)


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
    except RuntimeError:  # a device without autocast, such as meta
        return False


_CLASSES = {DoubledAttention, *(getattr(OPERATIONS[name], 'func', OPERATIONS[name]) for name in PRIMITIVES)}
