"""High Order Group Attention (section 3.1): the forward pass of its graph, and the plugin."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.fx import Proxy

from mmhoga.genotype import Genotype, edge_list, edge_name
from mmhoga.models.arguments import check_integers
from mmhoga.models.fast import joint_cell as joint
from mmhoga.models.fast.choice import check_triton
from mmhoga.models.fast.folding import fold_norms
from mmhoga.models.fast.joint import FusedWeights, JointForm
from mmhoga.models.fast.kernels.convolutions import PointwiseConv2d
from mmhoga.models.fast.kernels.modes import traced, transformed
from mmhoga.models.fast.kernels.pools import group_sum
from mmhoga.models.fast.region import Region
from mmhoga.models.loading import watch_loading
from mmhoga.models.norms import PER_CHANNEL, build_norm
from mmhoga.models.operations import ChannelAttention, DoubledAttention, EdgeInput, split_edges
from mmhoga.models.primitives import build_operation
from mmhoga.models.start import check_start, is_zero, zero
from mmhoga.registry import MODELS

SUMMARIES = ('nodes', 'inputs')


class GroupAttention(BaseModule):
    """Base class of the derived cell and of the supernet: the graph, without its edges.

    The input F is split into K groups. Node U_k is the sum of its edges from F_k and from the earlier nodes (Eq. 2).
    The nodes and a summary are concatenated and mapped back (Eq. 3)::

        out = SE(phi([U_0; ...; U_{K-1}; SE(summary)]) + F),   phi = 1x1 conv, BN, ReLU, 1x1 conv, BN

    Eq. (3) has only the concatenation, 1x1 convolutions and channel attention. SE on the summary and the addition of F
    come from the released code; with them the parameter counts equal those of the paper to the last digit.

    A subclass defines its edges through :meth:`input_messages` and :meth:`messages_from`.

    Args:
        in_channels: C, divisible by ``num_groups``.
        num_groups: K.
        summary: ``'nodes'``, the sum of the U_k as in Eq. (3), or ``'inputs'``, the sum of the F_k as in the released
            code.
        summary_reduction: squeeze of the SE on the summary.
        output_reduction: squeeze of the SE at the end.
        start: ``'random'``, the paper's, or ``'identity'``, for a network that is already trained: the cell starts as
            ``out = F``, exactly and in every mode. The weight and shift of the last norm in phi start at 0, and so do
            the logits of the SE at the end. Its gate is then sigmoid(0) = 1/2, and the cell multiplies it by 2,
            during training and afterwards. These 3 parameters have a gradient from the first step on, all others
            from the second. Checkpoints have the same keys; a cell must be built with the ``start`` that it was
            trained with.
        norm_cfg: the norms, as in the hosts: ``dict(type='SyncBN')`` or ``dict(type='GN', num_groups=32)``; by default
            batch norms. In a backbone of mmhoga and with :func:`mmhoga.insert` a cell takes type and groups from the
            backbone, unless its config has a ``norm_cfg``. See :func:`mmhoga.models.norms.build_norm`.

    Raises:
        ValueError: K does not divide C; a width or a reduction below 1; an unknown ``summary``, ``start`` or norm; an
            input that is not ``(N, C, H, W)`` with floating-point numbers.
    """

    _abbr_ = 'hoga'
    # The batch norms inside amplify an all-zero input by 1 / sqrt(eps): do not zero-initialise the norm before a cell.
    normalizes_input = True
    inherited_norms = PER_CHANNEL  # from the backbone, see mmhoga.models.norms

    def __init__(
        self,
        in_channels: int,
        *,
        num_groups: int,
        summary: str = 'nodes',
        summary_reduction: int = 16,
        output_reduction: int = 8,
        start: str = 'random',
        norm_cfg: Mapping[str, Any] | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check(in_channels, num_groups, summary)
        check_integers(summary_reduction=summary_reduction, output_reduction=output_reduction)
        self.in_channels = in_channels
        self.num_groups = num_groups
        self.group_channels = in_channels // num_groups
        self.summary = summary
        self.summary_attention = ChannelAttention(self.group_channels, reduction=summary_reduction)
        self.phi = nn.Sequential(
            PointwiseConv2d(in_channels + self.group_channels, in_channels, bias=False),
            build_norm(norm_cfg, in_channels),
            nn.ReLU(inplace=True),
            PointwiseConv2d(in_channels, in_channels, bias=False),
            build_norm(norm_cfg, in_channels),
        )
        self.norm_cfg = None if norm_cfg is None else dict(norm_cfg)
        self.start = start
        self._from_identity = check_start(start)
        output_attention = DoubledAttention if self._from_identity else ChannelAttention
        self.output_attention = output_attention(in_channels, reduction=output_reduction)
        self.reset_start()
        watch_loading(self)

    def init_weights(self) -> None:
        """Initialise as configured. The ``init_cfg`` of the backbone has overwritten the identity."""
        super().init_weights()
        self.reset_start()

    def reset_start(self) -> None:
        """With ``start='identity'``, make the cell the identity."""
        if self._from_identity:
            for layer in self._zeroed():
                zero(layer)

    def is_identity(self) -> bool:
        """Whether the cell returns its input: built with ``start='identity'``, and not trained since."""
        return self._from_identity and all(is_zero(layer) for layer in self._zeroed())

    def _zeroed(self) -> tuple[nn.Module, ...]:
        return self.phi[-1], self.output_attention.excite

    def edge_weights(self) -> Any:
        """A value for the two methods below, computed once per forward pass: the mix of a supernet."""

    def input_messages(self, groups: Tensor, edge_weights: Any) -> list[Tensor]:
        """o_kk(F_k) for every k: ``(N, K, C/K, H, W)`` to K tensors ``(N, C/K, H, W)``."""
        raise NotImplementedError(f'{type(self).__name__} must define input_messages(groups, edge_weights).')

    def messages_from(self, j: int, node: Tensor, edge_weights: Any) -> list[Tensor]:
        """o_jk(U_j) for every k > j, from ``node`` = U_j, ``(N, C/K, H, W)``."""
        raise NotImplementedError(f'{type(self).__name__} must define messages_from(j, node, edge_weights).')

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``. ``torch.fx`` records a call of the cell, as of a layer of torch."""
        if isinstance(x, Proxy):
            return _recorded_call(self, x)
        # In a trace sizes are tensors, and torch warns that the result of a comparison becomes a constant.
        if not torch.jit.is_tracing():
            self._check_input(x)
        return self.attended(x)

    def _check_input(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point():
            tensor = isinstance(x, Tensor)
            found = f'one of shape {tuple(x.shape)} and {x.dtype}' if tensor else f'a {type(x).__name__}'
            hint = ' Give one image the dimension of a batch: x[None].' if tensor and x.dim() == 3 else ''
            raise ValueError(
                f'{type(self).__name__} takes a floating-point tensor (N, C, H, W), and got {found}.{hint}'
            )
        if x.size(1) != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} was built for {self.in_channels} channels and got an input of shape '
                f'{tuple(x.shape)}. Set in_channels to the width at its position; a backbone sets it by itself.'
            )
        if x.size(2) == 0 or x.size(3) == 0:
            raise ValueError(
                f'{type(self).__name__} got an input without pixels, {tuple(x.shape)}. The image is smaller than the '
                'stride of the network at this place.'
            )

    def attended(self, x: Tensor) -> Tensor:
        """The forward pass on an input that was checked."""
        edge_weights = self.edge_weights()
        nodes = self.input_messages(split_edges(x, self.num_groups), edge_weights)
        for j in range(self.num_groups - 1):
            for k, message in enumerate(self.messages_from(j, nodes[j], edge_weights), start=j + 1):
                nodes[k] = nodes[k] + message
        joined = self.with_summary(x, nodes, partial(_attend, self.summary_attention))
        return _attend(self.output_attention, self.phi(joined) + x)

    def with_summary(self, x: Tensor, nodes: Sequence[Tensor], summary: Callable[[Tensor], Tensor]) -> Tensor:
        """[U_0; ...; U_{K-1}; SE(summary)]."""
        joined = torch.cat(list(nodes), dim=1)
        summed = group_sum(x if self.summary == 'inputs' else joined, self.num_groups)
        return torch.cat((joined, summary(summed)), dim=1)


@MODELS.register_module()
class HOGA(GroupAttention):
    """The derived cell, with one operation per edge: the plugin.

    Args:
        in_channels: C.
        genotype: a built-in name, a path to a ``.json``, the rows, or a dict (:meth:`mmhoga.Genotype.from_config`).
        operation_reduction: squeeze of the channel MLPs inside the operations.
        summary, summary_reduction, output_reduction, start, norm_cfg: see :class:`GroupAttention`.
        compile: run the cell with ``torch.compile``: True, a mode such as ``'reduce-overhead'``, or a dict of options
            (:class:`mmhoga.models.fast.region.Region`). Cells of one genotype, width and set of options share what is
            compiled, and so do all image sizes. A compiled cell cannot be differentiated twice. A cell with hooks,
            with other layers than it was built with, or with a primitive that is not mmhoga's is not compiled.
        triton: run the gates, poolings, MLPs and narrow convolutions of the cell by kernels in Triton where the input
            is on a GPU, and by plain operators elsewhere, in float64, and while an export or ``torch.compile`` records.
            The kernels have been tested in Triton's interpreter, and have not been measured on a GPU.

    Raises:
        mmhoga.genotype.GenotypeError: the genotype cannot be read.
        ValueError: its number of groups does not divide ``in_channels``; an unknown mode of ``compile``;
            ``triton=True`` without Triton.

    Example:
        >>> import torch
        >>> from mmhoga.models import HOGA
        >>> HOGA(64, genotype='autola')(torch.rand(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """

    # Cells pickled by earlier versions have none of these.
    _joint: JointForm | None = None
    _region: Region | None = None
    triton = False

    def __init__(
        self,
        in_channels: int,
        *,
        genotype: Any = 'autola',
        summary: str = 'nodes',
        summary_reduction: int = 16,
        output_reduction: int = 8,
        operation_reduction: int = 4,
        start: str = 'random',
        norm_cfg: Mapping[str, Any] | None = None,
        compile: bool | str | dict = False,
        triton: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        genotype = Genotype.from_config(genotype)
        super().__init__(
            in_channels,
            num_groups=genotype.num_groups,
            summary=summary,
            summary_reduction=summary_reduction,
            output_reduction=output_reduction,
            start=start,
            norm_cfg=norm_cfg,
            init_cfg=init_cfg,
        )
        check_integers(operation_reduction=operation_reduction)
        self.genotype = genotype
        self.edges = nn.ModuleDict()
        for j, k in edge_list(self.num_groups):
            self.edges[edge_name(j, k)] = build_operation(
                genotype.operation(j, k), self.group_channels, reduction=operation_reduction, norm_cfg=norm_cfg
            )

        self.triton = check_triton(triton)
        self._joint = JointForm(self)
        self._region = Region.of(compile)

    def compile(self, **options: Any) -> None:
        """As the argument ``compile`` of the constructor, for a cell that exists: with these options."""
        self._region = Region(**options)

    def attended(self, x: Tensor) -> Tensor:
        """The joint form where it applies, otherwise module by module. A trace records modules, for their names."""
        fused: Any = self._modules.get('fused')
        region = None if traced() or transformed() else self._region
        if fused is not None:
            if region is not None and not self.edges:
                return region.run_fused(x, fused)
            return self._joint_forward(x, fused, fused.weights())
        if torch.jit.is_tracing() or transformed():
            return super().attended(x)
        form = self._joint
        if form is None or not form.is_of(self):
            form = self._joint = JointForm(self)
        # The statistics of an empty batch are not to be averaged; a batch norm leaves them out.
        if not form.is_standard() or form.is_hooked() or x.size(0) == 0:
            return super().attended(x)
        if region is not None and form.compilable:
            return region.run(x, form)
        weights = form.weights(x)
        y = self._joint_forward(x, form, weights)
        form.update(form.statistics(weights))
        return y

    def _joint_forward(self, x: Tensor, form: JointForm | FusedWeights, weights: joint.CellWeights) -> Tensor:
        return joint.forward(x, form.structure, weights)

    def input_messages(self, groups: Tensor, edge_weights: Any) -> list[Tensor]:
        # split() and not K slices, whose backward pass fills and adds K tensors of zeros.
        inputs = groups.split(1, dim=1)
        return [self.edges[edge_name(k, k)](EdgeInput(x)).squeeze(1) for k, x in enumerate(inputs)]

    def messages_from(self, j: int, node: Tensor, edge_weights: Any) -> list[Tensor]:
        shared = EdgeInput(node.unsqueeze(1))
        return [self.edges[edge_name(j, k)](shared).squeeze(1) for k in range(j + 1, self.num_groups)]

    def fuse(self) -> HOGA:
        """Remove batch norms and merge convolutions for deployment, in place; outputs in eval mode stay the same.

        The cell can no longer be trained, and its state dict has other keys. Idempotent.
        """
        self.eval()
        form = JointForm(self) if 'fused' not in self._modules else None
        if form is not None and form.is_standard():
            with torch.no_grad():
                self.fused = FusedWeights(form)
            for name in ('phi', 'summary_attention', 'output_attention'):
                delattr(self, name)
            self._joint = None
            for edge in form.built_in_edges:
                del self.edges[edge]
        fold_norms(self)
        return self.requires_grad_(False)


def _recorded_call(cell: nn.Module, x: Proxy) -> Any:
    tracer: Any = x.tracer
    path = tracer.path_of_module(cell)
    if not path:
        raise TypeError(
            f'torch.fx records {type(cell).__name__} as one call, like a layer of torch, and cannot look into it. '
            'Trace a network that has it as a submodule.'
        )
    return tracer.create_proxy('call_module', path, (x,), {})


def _attend(attention: ChannelAttention, x: Tensor) -> Tensor:
    return attention(EdgeInput(x.unsqueeze(1))).squeeze(1)


def _check(in_channels: int, num_groups: int, summary: str) -> None:
    check_integers(in_channels=in_channels, num_groups=num_groups)
    if in_channels % num_groups:
        divisors = [k for k in range(1, in_channels + 1) if in_channels % k == 0]
        nearest = sorted(divisors, key=lambda k: abs(k - num_groups))[:3]
        raise ValueError(
            f'HOGA splits its input into K = {num_groups} groups, but {num_groups} does not divide in_channels = '
            f'{in_channels}. Use a genotype with another K (the nearest that divide it: '
            f'{", ".join(map(str, sorted(nearest)))}) or a width that is a multiple of {num_groups}.'
        )
    if summary not in SUMMARIES:
        raise ValueError(f'summary must be one of {SUMMARIES}, not {reprlib.repr(summary)}.')
