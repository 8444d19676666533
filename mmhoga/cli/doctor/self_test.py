"""A test of mmhoga itself on tiny data: a cell, one step of a search, and a checkpoint. About 2 seconds on a CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mmhoga.models import HOGA, SearchableHOGA, share_alpha
from mmhoga.search import bilevel


def hoga() -> str:
    """Forward and backward of a cell on the CPU. Every parameter has a finite gradient."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cell = HOGA(16)
        cell(torch.randn(2, 16, 8, 8)).square().sum().backward()
    lacking = [
        name for name, weight in cell.named_parameters() if weight.grad is None or not weight.grad.isfinite().all()
    ]
    if lacking:
        raise ArithmeticError(f'{len(lacking)} parameters have no finite gradient, such as {lacking[0]}')
    return f'forward and backward, {len(list(cell.parameters()))} parameters have finite gradients'


def search_step() -> str:
    """One second-order step on alpha and one step on the weights, in float64, and the derived cell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cell = SearchableHOGA(8, num_groups=2)
        network = nn.Sequential(nn.Conv2d(3, 8, 3), cell, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        network.double()
        images, labels = torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.arange(8) % 2
    alpha = share_alpha(network)
    weights = [weight for weight in network.parameters() if weight is not alpha]
    sgd = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
    before = [tensor.detach().clone() for tensor in (alpha, *weights)]

    def loss(part: slice) -> torch.Tensor:
        return cross_entropy(network(images[part]), labels[part])

    def gradient(order: str) -> torch.Tensor:
        halves = (lambda: loss(slice(4))), (lambda: loss(slice(4, 8)))
        if order == 'first':
            return bilevel.first_order(halves[1], [alpha])[1][0]
        buffers = list(network.buffers())
        # The network has kinks (ReLU, maxima). So small a radius crosses none, and float64 is precise enough for it.
        return bilevel.second_order(*halves, [alpha], sgd, hessian=order, radius=1e-7, buffers=buffers)[1][0]

    first, exact, difference = (gradient(order) for order in ('first', 'exact', 'finite_difference'))
    if not torch.allclose(exact, difference, rtol=1e-3, atol=1e-5 * float(exact.abs().max())):
        raise ArithmeticError('the two ways to compute the second-order gradient of alpha differ')
    if torch.equal(first, exact):
        raise ArithmeticError('the second-order gradient of alpha equals the first-order one')
    alpha.grad = exact
    torch.optim.Adam([alpha], lr=3e-3).step()
    sgd.zero_grad()
    loss(slice(4)).backward()
    sgd.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, (alpha, *weights))]
    if not moved[0] or sum(moved) < len(moved) / 2:  # some hidden units of so small a network are dead
        raise ArithmeticError(f'a step of the search changed {sum(moved)} of {len(moved)} tensors')

    with torch.no_grad():
        derived = cell.eval().derive().eval()
        best = torch.zeros_like(alpha)
        for row, edge in enumerate(alpha):
            candidates = [i for i, name in enumerate(cell.primitives) if name != 'none']
            best[row, max(candidates, key=lambda i: float(edge[i]))] = 1
        alpha.copy_(1e4 * best)  # softmax(alpha) is one-hot
        x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
        if not torch.allclose(derived(x), cell(x), rtol=1e-6, atol=1e-9):
            raise ArithmeticError('the derived cell differs from the supernet with its operations')
    return 'weights and alpha move, first and second order, and the derived cell equals the supernet'


def checkpoint() -> str:
    """A checkpoint with histories and arrays, written and read through mmengine, and read by torch's strict loader."""
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from mmengine.runner import checkpoint as host_files

    cell = HOGA(16)
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    hub = {'log_scalars': {'train/loss': history}, 'runtime_info': {'iter': np.int64(7)}}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'epoch_1.pth'))
        host_files.save_checkpoint({'state_dict': cell.state_dict(), 'message_hub': hub}, path)
        read = host_files.CheckpointLoader.load_checkpoint(path, map_location='cpu')
        torch.load(path, weights_only=True)
    if not all(torch.equal(read['state_dict'][name], value) for name, value in cell.state_dict().items()):
        raise ValueError('a weight changed between writing and reading')
    if read['message_hub']['log_scalars']['train/loss'].mean() != 2:
        raise ValueError('the history of the loss changed between writing and reading')
    HOGA(16).load_state_dict(read['state_dict'])
    return 'written and read, with histories; torch.load(weights_only=True) reads it too'
