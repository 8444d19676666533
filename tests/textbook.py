"""HOGA written for clarity: Eqs. (2) to (9) and (13), with one call for each candidate on each edge.

The reference for the library, which batches edges and adds gates. They share only the parameters of a cell.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmhoga.models import HOGA, SearchableHOGA

Weights = dict  # parameters and buffers by name


def separable(weights: Weights, first: int, x: Tensor, dilation: int, training: bool) -> Tensor:
    """Depth-wise 3x3, point-wise 1x1, batch norm; layers ``first`` to ``first + 2``."""
    x = F.conv2d(x, weights[f'convs.{first}.weight'], padding=dilation, dilation=dilation, groups=x.size(1))
    x = F.conv2d(x, weights[f'convs.{first + 1}.weight'])
    return batch_norm(weights, f'convs.{first + 2}', x, training)


def batch_norm(weights: Weights, name: str, x: Tensor, training: bool) -> Tensor:
    if training:
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    else:
        mean = weights[f'{name}.running_mean'].view(1, -1, 1, 1)
        variance = weights[f'{name}.running_var'].view(1, -1, 1, 1)
    x = (x - mean) / (variance + 1e-5).sqrt()
    if f'{name}.weight' in weights:
        x = x * weights[f'{name}.weight'].view(1, -1, 1, 1) + weights[f'{name}.bias'].view(1, -1, 1, 1)
    return x


def mlp(weights: Weights, prefix: str, pooled: Tensor) -> Tensor:
    """f_c on ``(N, C)``."""
    hidden = F.linear(pooled, weights[f'{prefix}squeeze.weight'].flatten(1), weights.get(f'{prefix}squeeze.bias'))
    return F.linear(hidden.relu(), weights[f'{prefix}excite.weight'].flatten(1), weights.get(f'{prefix}excite.bias'))


def channel_attention(weights: Weights, prefix: str, x: Tensor, both: bool) -> Tensor:
    """Eq. (4), or with ``both`` poolings Eq. (5)."""
    logits = mlp(weights, prefix, x.mean((2, 3)))
    if both:
        logits = logits + mlp(weights, prefix, x.flatten(2).max(2).values)
    return x * logits.sigmoid()[:, :, None, None]


def channel_pool(x: Tensor) -> Tensor:
    return torch.stack((x.max(1).values, x.mean(1)), dim=1)


def operation(name: str, weights: Weights, x: Tensor, training: bool) -> Tensor:
    """A(F) for one candidate on one edge."""
    dilation = 2 if name.endswith('d2') else 1
    if name == 'none':
        return x * 0
    if name == 'skip_connect':
        return x
    if name.startswith('norm_3x3'):  # Eq. (7)
        logits = separable(weights, 0, x, dilation, training)
        if dilation == 1:
            logits = separable(weights, 4, logits.relu(), dilation, training)
        return x * logits.sigmoid()
    if name.startswith('spatial_3x3'):  # Eq. (6)
        pooled = channel_pool(x)
        if dilation == 1:
            logits = separable(weights, 4, separable(weights, 0, pooled, 1, training).relu(), 1, training)
        else:
            logits = F.conv2d(pooled, weights['convs.0.weight'], padding=2, dilation=2)
            logits = F.conv2d(logits, weights['convs.1.weight'])
            logits = batch_norm(weights, 'convs.2', logits, training)
        return x * logits.sigmoid()
    if name in ('se', 'se_avgmax'):
        return channel_attention(weights, '', x, both=name == 'se_avgmax')
    assert name == 'cbam'  # Eq. (8)
    x = channel_attention(weights, 'channel.', x, both=True)
    logits = F.conv2d(channel_pool(x), weights['conv.weight'], padding=3)
    return x * batch_norm(weights, 'bn', logits, training).sigmoid()


def aggregate(cell: HOGA | SearchableHOGA, x: Tensor, nodes: list[Tensor]) -> Tensor:
    """Eq. (3): [U_0; ...; U_{K-1}; U] through phi, plus F, through channel attention."""
    weights = cell.state_dict(keep_vars=True)
    groups = x.split(x.size(1) // cell.num_groups, dim=1)
    summary = sum(nodes) if cell.summary == 'nodes' else sum(groups)
    summary = channel_attention(weights, 'summary_attention.', summary, both=False)
    out = F.conv2d(torch.cat([*nodes, summary], dim=1), weights['phi.0.weight'])
    out = batch_norm(weights, 'phi.1', out, cell.training).relu()
    out = batch_norm(weights, 'phi.4', F.conv2d(out, weights['phi.3.weight']), cell.training)
    return channel_attention(weights, 'output_attention.', out + x, both=False)


def hoga(cell: HOGA, x: Tensor) -> Tensor:
    """A derived cell by Eqs. (2) and (3)."""
    groups = x.split(x.size(1) // cell.num_groups, dim=1)
    nodes: list[Tensor] = []
    for k in range(cell.num_groups):
        node = 0
        for j in range(k + 1):
            source = groups[k] if j == k else nodes[j]
            weights = cell.edges[f'o_{j}_{k}'].state_dict(keep_vars=True)
            node = node + operation(cell.genotype.edges[k][j], weights, source, cell.training)
        nodes.append(node)
    return aggregate(cell, x, nodes)


def supernet(cell: SearchableHOGA, x: Tensor) -> Tensor:
    """A supernet by Eqs. (2), (3) and (13)."""
    groups = x.split(x.size(1) // cell.num_groups, dim=1)
    nodes: list[Tensor] = []
    row = 0
    for k in range(cell.num_groups):
        node = 0
        for j in range(k + 1):
            source = groups[k] if j == k else nodes[j]
            mix = cell.alpha[row].exp() / cell.alpha[row].exp().sum()
            for share, name in zip(mix, cell.primitives):
                weights = candidate_weights(cell, j, k, name)
                node = node + share * operation(name, weights, source, cell.training)
            row += 1
        nodes.append(node)
    return aggregate(cell, x, nodes)


def candidate_weights(cell: SearchableHOGA, j: int, k: int, name: str) -> Weights:
    """The slices of the stacked parameters for candidate ``name`` of o_jk."""
    mixed, index, edges = (
        (cell.inputs, k, cell.num_groups) if j == k else (cell.nodes[j], k - j - 1, cell.num_groups - 1 - j)
    )
    return {
        key: value if value.dim() == 0 else value.view(edges, -1, *value.shape[1:])[index]
        for key, value in mixed[name].state_dict(keep_vars=True).items()
    }
