"""The mix of a supernet: the weight of each candidate on each edge (Eq. 12), from alpha."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mixing(nn.Module):
    """Maps alpha to the mix: ``softmax(alpha / T)``, or in training a sample of it.

    Cells that share one alpha share one Mixing. T is a tensor, so that compiled cells read its current value. Neither T
    nor the noise is part of a state dict.

    With :meth:`enable_sampling` the mix is that of GDAS (Dong and Yang, "Searching for A Robust Neural Architecture in
    Four GPU Hours", CVPR 2019, https://arxiv.org/abs/1910.04465). In training, each edge has one operation,
    drawn with the probabilities ``softmax(alpha)`` by the Gumbel-max trick::

        mix = one_hot(argmax(alpha + g)),   dmix/dalpha = dsoftmax((alpha + g) / T)/dalpha,   g ~ Gumbel(0, 1)

    ``g`` changes only with :meth:`draw`, which a search model calls once per forward pass. In evaluation there is no
    noise: the mix is the one-hot vector of the largest alpha. GDAS computes only the sampled operation; here all
    candidates are computed, so that sampling saves no time, and alpha's gradient has the derivative by every entry of
    the mix.

    Attributes:
        temperature: T, of dimension 0.
        noise: ``g``, of alpha's shape; None without sampling.
    """

    temperature: Tensor
    noise: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('temperature', torch.ones(()), persistent=False)
        self.register_buffer('noise', None, persistent=False)

    def enable_sampling(self, alpha: Tensor) -> None:
        """Sample in training, for an alpha of this shape."""
        self.noise = torch.zeros_like(alpha.detach())

    def draw(self) -> None:
        """Draw new noise from torch's generator, if sampling is enabled."""
        if self.noise is not None:
            self.noise.exponential_().log_().neg_()

    def forward(self, alpha: Tensor, training: bool) -> Tensor:
        """``alpha`` and the mix: ``(K (K + 1) / 2, M)``; ``training`` is the mode of the cell."""
        if self.noise is None:
            return (alpha / self.temperature).softmax(-1)
        if not training:
            return _one_hot(alpha)
        soft = ((alpha + self.noise) / self.temperature).softmax(-1)
        return _one_hot(soft) + (soft - soft.detach())  # exactly one-hot, with the gradient of soft


def _one_hot(x: Tensor) -> Tensor:
    """1 at the largest entry of each row."""
    return torch.zeros_like(x).scatter(-1, x.argmax(-1, keepdim=True), 1.0)
