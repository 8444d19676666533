"""High Order Group Attention (section 3.1): the one forward of its graph, and the plugin."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhoga.genotype import Genotype, edge_name
from mmhoga.models.fast.folding import fold_norms, shortened
from mmhoga.models.fast.layers import PointwiseConv2d
from mmhoga.models.loading import watch_loading
from mmhoga.models.operations import ChannelAttention, Source
from mmhoga.models.primitives import build_operation
from mmhoga.registry import MODELS

SUMMARIES = ('nodes', 'inputs')


class GroupAttention(BaseModule):
    """Split, reciprocate, aggregate: what the searched cell and the supernet have in common.

    The input F is split into K groups; node U_k adds up what its edges bring from F_k and from the nodes before it
    (Eq. 2); the nodes and a summary are concatenated and mapped back (Eq. 3)::

        out = SE(phi([U_0; ...; U_{K-1}; SE(summary)]) + F),   phi = 1x1 conv, BN, ReLU, 1x1 conv, BN

    The paper's Eq. (3) names only the concatenation, 1x1 convolutions and channel attention; SE on the summary and the
    addition of F are the released code's, and with them the paper's parameter counts come out to the digit.

    A subclass defines what an edge is, through :meth:`enter` and :meth:`leave`; :meth:`prepare` is what both share.

    Args:
        in_channels: C, divisible by ``num_groups``.
        num_groups: K.
        summary: ``'nodes'``, the sum of the U_k as Eq. (3) has it, or ``'inputs'``, the sum of the F_k, the release's.
        summary_reduction: squeeze of the SE on the summary.
        output_reduction: squeeze of the SE at the end.

    Raises:
        ValueError: K does not divide C; an unknown ``summary``; an input with other than C channels.
    """

    _abbr_ = 'hoga'
    # Batch norms inside amplify an all-zero input by 1 / sqrt(eps): do not zero-initialise the norm before it.
    normalizes_input = True

    def __init__(
        self,
        in_channels: int,
        *,
        num_groups: int,
        summary: str = 'nodes',
        summary_reduction: int = 16,
        output_reduction: int = 8,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check(in_channels, num_groups, summary)
        self.in_channels = in_channels
        self.num_groups = num_groups
        self.group_channels = in_channels // num_groups
        self.summary = summary
        self.summary_attention = ChannelAttention(self.group_channels, reduction=summary_reduction)
        self.phi = nn.Sequential(
            PointwiseConv2d(in_channels + self.group_channels, in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            PointwiseConv2d(in_channels, in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
        )
        self.output_attention = ChannelAttention(in_channels, reduction=output_reduction)
        watch_loading(self)

    def prepare(self) -> Any:
        """What is computed once a forward pass, and handed to the methods below."""

    def enter(self, groups: Tensor, prepared: Any) -> list[Tensor]:
        """o_kk(F_k) for every k: ``(N, K, C/K, H, W)`` to K tensors ``(N, C/K, H, W)``."""
        raise NotImplementedError(f'{type(self).__name__} must define enter(groups, prepared).')

    def leave(self, source: int, node: Tensor, prepared: Any) -> list[Tensor]:
        """o_jk(U_j) for j = ``source`` and every k > j, from U_j = ``node`` ``(N, C/K, H, W)``."""
        raise NotImplementedError(f'{type(self).__name__} must define leave(source, node, prepared).')

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        # While tracing, sizes are tensors and a comparison would be frozen into the graph with a warning.
        if not torch.jit.is_tracing() and x.size(1) != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} was built for {self.in_channels} channels and got an input of shape '
                f'{tuple(x.shape)}. Set in_channels (a backbone sets it by itself) to the width at its position.'
            )
        groups = x.unflatten(1, (self.num_groups, self.group_channels))
        prepared = self.prepare()
        nodes = self.enter(groups, prepared)
        for j in range(self.num_groups - 1):
            for k, message in enumerate(self.leave(j, nodes[j], prepared), start=j + 1):
                nodes[k] = nodes[k] + message
        summary = groups.sum(1) if self.summary == 'inputs' else _sum(nodes)
        mapped = self.phi(torch.cat((*nodes, _attend(self.summary_attention, summary)), dim=1))
        return _attend(self.output_attention, mapped + x)


@MODELS.register_module()
class HOGA(GroupAttention):
    """A HOGA with one operation on each edge: the plugin.

    Args:
        in_channels: C.
        genotype: a built-in name, a path to a ``.json``, the rows, or a dict (see :mod:`mmhoga.genotype`).
        operation_reduction: squeeze of the channel MLPs inside the operations.
        summary, summary_reduction, output_reduction: see :class:`GroupAttention`.

    Raises:
        mmhoga.genotype.GenotypeError: the genotype cannot be read.
        ValueError: its number of groups does not divide ``in_channels``.

    Example:
        >>> import torch
        >>> HOGA(64, genotype='autola')(torch.rand(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        genotype: Any = 'autola',
        summary: str = 'nodes',
        summary_reduction: int = 16,
        output_reduction: int = 8,
        operation_reduction: int = 4,
        init_cfg: dict | list | None = None,
    ) -> None:
        genotype = Genotype.from_config(genotype)
        super().__init__(
            in_channels,
            num_groups=genotype.num_groups,
            summary=summary,
            summary_reduction=summary_reduction,
            output_reduction=output_reduction,
            init_cfg=init_cfg,
        )
        self.genotype = genotype
        self.edges = nn.ModuleDict()
        for k, row in enumerate(genotype.edges):
            for j, name in enumerate(row):
                self.edges[edge_name(j, k)] = build_operation(name, self.group_channels, reduction=operation_reduction)

    def enter(self, groups: Tensor, prepared: Any) -> list[Tensor]:
        # Split, not sliced: the gradient of K slices is K tensors of zeros, filled and added up.
        inputs = groups.split(1, dim=1)
        return [self.edges[edge_name(k, k)](Source(x)).squeeze(1) for k, x in enumerate(inputs)]

    def leave(self, source: int, node: Tensor, prepared: Any) -> list[Tensor]:
        shared = Source(node.unsqueeze(1))
        return [self.edges[edge_name(source, k)](shared).squeeze(1) for k in range(source + 1, self.num_groups)]

    def fuse(self) -> HOGA:
        """For deployment, in place: no batch norms, fewer convolutions, the same outputs in eval mode.

        The cell can no longer be trained, and its state dict has other keys. Twice is once.
        """
        self.eval()
        fold_norms(self)
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.Sequential):
                    setattr(parent, name, shortened(child))
        return self.requires_grad_(False)


def _attend(attention: ChannelAttention, x: Tensor) -> Tensor:
    return attention(Source(x.unsqueeze(1))).squeeze(1)


def _sum(tensors: list[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _check(in_channels: int, num_groups: int, summary: str) -> None:
    if num_groups < 1:
        raise ValueError(f'num_groups (K) must be at least 1, not {num_groups}.')
    if in_channels % num_groups:
        divisors = [k for k in range(1, in_channels + 1) if in_channels % k == 0]
        nearest = sorted(divisors, key=lambda k: abs(k - num_groups))[:3]
        raise ValueError(
            f'HOGA splits its input into K = {num_groups} groups, which does not divide in_channels = {in_channels}. '
            f'Use a genotype with another K (near ones that divide: {", ".join(map(str, sorted(nearest)))}) '
            f'or a width that is a multiple of {num_groups}.'
        )
    if summary not in SUMMARIES:
        raise ValueError(f'summary must be one of {SUMMARIES}, not {summary!r}.')
