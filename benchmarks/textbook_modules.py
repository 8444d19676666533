"""The textbook form of the supernet, the baseline of the benchmarks: a module for each candidate on each edge.

As in the released code, a mixed edge is ``sum_o mix_o o(x)``, each candidate is a module of ordinary layers that
returns its gated input, and nothing is shared. The parameters have the library's names, so that a supernet's load.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mmhoga.genotype import edge_list
from mmhoga.models import SearchableHOGA


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.0)


class ChannelAttention(nn.Module):
    """Eq. (4), or with ``both`` poolings Eq. (5)."""

    def __init__(self, channels: int, hidden: int, *, both: bool, bias: bool) -> None:
        super().__init__()
        self.both = both
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.mlp(nn.functional.adaptive_avg_pool2d(x, 1))
        if self.both:
            logits = logits + self.mlp(nn.functional.adaptive_max_pool2d(x, 1))
        return x * logits.sigmoid()[:, :, None, None]

    def mlp(self, pooled: Tensor) -> Tensor:
        return self.excite(self.squeeze(pooled.flatten(1)).relu())


class Normalization(nn.Module):
    """Eq. (7)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.convs = separable(channels, channels, dilation)
        if dilation == 1:
            self.convs.append(nn.ReLU()).extend(separable(channels, channels, dilation))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.convs(x).sigmoid()


class Spatial(nn.Module):
    """Eq. (6)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        if dilation == 1:
            self.convs = separable(2, 2, 1).append(nn.ReLU()).extend(separable(2, 1, 1))
        else:
            self.convs = nn.Sequential(
                nn.Conv2d(2, 1, 3, padding=2, dilation=2, bias=False),
                nn.Conv2d(1, 1, 1, bias=False),
                nn.BatchNorm2d(1, affine=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.convs(channel_pool(x)).sigmoid()


class CBAM(nn.Module):
    """Eq. (8)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, hidden, both=True, bias=True)
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel(x)
        return x * self.bn(self.conv(channel_pool(x))).sigmoid()


def channel_pool(x: Tensor) -> Tensor:
    return torch.cat((x.max(1, keepdim=True).values, x.mean(1, keepdim=True)), dim=1)


def separable(inputs: int, outputs: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs, affine=False),
    )


def candidate(name: str, channels: int, hidden: int) -> nn.Module:
    return {
        'none': lambda: Zero(),
        'skip_connect': lambda: nn.Identity(),
        'norm_3x3': lambda: Normalization(channels, 1),
        'norm_3x3_d2': lambda: Normalization(channels, 2),
        'spatial_3x3': lambda: Spatial(1),
        'spatial_3x3_d2': lambda: Spatial(2),
        'se': lambda: ChannelAttention(channels, hidden, both=False, bias=False),
        'se_avgmax': lambda: ChannelAttention(channels, hidden, both=True, bias=False),
        'cbam': lambda: CBAM(channels, hidden),
    }[name]()


class TextbookHOGA(nn.Module):
    """Eqs. (2), (3) and (13), with the parameters of a supernet."""

    def __init__(self, cell: SearchableHOGA) -> None:
        super().__init__()
        self.alpha = cell.alpha
        self.num_groups = cell.num_groups
        self.from_nodes = cell.summary == 'nodes'
        self.edges = nn.ModuleDict()
        for j, k in edge_list(cell.num_groups):
            mixed, index = (cell.inputs, k) if j == k else (cell.nodes[j], k - j - 1)
            candidates = nn.ModuleList()
            for name in cell.primitives:
                hidden = max(1, cell.group_channels // 4)
                module = candidate(name, cell.group_channels, hidden)
                load(module, mixed[name].edge_state(index))
                candidates.append(module)
            self.edges[f'{j}{k}'] = candidates
        self.phi = copy.deepcopy(cell.phi)
        self.summary_attention = self.squeeze_and_excite(cell.summary_attention)
        self.output_attention = self.squeeze_and_excite(cell.output_attention)

    @staticmethod
    def squeeze_and_excite(attention: nn.Module) -> ChannelAttention:
        module = ChannelAttention(attention.channels, attention.squeeze.out_channels, both=False, bias=False)
        load(module, attention.state_dict())
        return module

    def forward(self, x: Tensor) -> Tensor:
        groups = x.chunk(self.num_groups, dim=1)
        mix = iter(self.alpha.softmax(-1))
        nodes: list[Tensor] = []
        for k in range(self.num_groups):
            sources = [*nodes, groups[k]]
            nodes.append(
                sum(
                    sum(share * op(source) for share, op in zip(next(mix), self.edges[f'{j}{k}']))
                    for j, source in enumerate(sources)
                )
            )
        summary = sum(nodes) if self.from_nodes else sum(groups)
        out = self.phi(torch.cat((*nodes, self.summary_attention(summary)), dim=1))
        return self.output_attention(out + x)


def load(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the state of a library operation, whose 1x1 convolutions on pooled features are linear layers here."""
    own = module.state_dict()
    module.load_state_dict({name: value.reshape(own[name].shape) for name, value in state.items()})


def textbook(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with the textbook form of every supernet; all share one alpha."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, SearchableHOGA):
                setattr(module, name, TextbookHOGA(child).train(child.training))
    return model
