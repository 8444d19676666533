"""Channel attention on pooled features, by plain operators."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmhoga.models.fast.kernels.modes import fusible, traced
from mmhoga.models.fast.kernels.pools import pixel_mean


class Mlp(NamedTuple):
    """The layers of channel attention for E edges: weights ``(E, outputs, inputs)``, biases ``(E, 1, outputs)``."""

    squeeze: Tensor
    squeeze_bias: Tensor | None
    excite: Tensor
    excite_bias: Tensor | None


def channel_logits(pooled: Tensor, mlp: Mlp, poolings: int = 1) -> Tensor:
    """Eqs. (4) and (5) before the sigmoid: ``(N, E or 1, P, C)``, P poolings, to ``(N, E, C)``.

    P is an argument because in a trace a size is a tensor, and the ``beta`` of ``addmm`` must be a number in ONNX.
    """
    edges = len(mlp.squeeze)
    rows = pooled.expand(-1, edges, -1, -1).transpose(0, 1).flatten(1, 2)  # (E, N * P, C)
    if edges == 1 and mlp.squeeze_bias is not None and not torch.is_grad_enabled() and not traced():
        bias, weight = mlp.squeeze_bias.flatten(), mlp.squeeze.squeeze(0)
        hidden = torch._addmm_activation(bias, rows.squeeze(0), weight.t())  # one kernel on a GPU
        hidden = hidden.view(1, pooled.size(0), poolings, hidden.size(1))
    else:
        hidden = _product(rows, mlp.squeeze, mlp.squeeze_bias)
        hidden = hidden.view(edges, pooled.size(0), poolings, hidden.size(2)).relu()
    # The next layer is linear, so that it can follow the sum over poolings. Fused weights are repeated instead.
    hidden = hidden.flatten(2) if mlp.excite.size(2) == hidden.size(2) * hidden.size(3) else hidden.sum(2)
    return _product(hidden, mlp.excite, mlp.excite_bias, poolings).transpose(0, 1)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, times: int = 1) -> Tensor:
    """``x weight^T + times * bias`` for each edge: ``(E, N, I)`` to ``(E, N, O)``."""
    if fusible():  # with its neighbours; a matrix product would be a kernel of its own
        result = (x.unsqueeze(2) * weight.unsqueeze(1)).sum(3)
        return result if bias is None else result + times * bias
    if len(weight) > 1:
        weight = weight.transpose(1, 2)  # legacy ONNX export lacks mT
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight, beta=times)
    x, weight = x.squeeze(0), weight.squeeze(0).t()
    return (x.mm(weight) if bias is None else torch.addmm(bias.squeeze(0), x, weight, beta=times)).unsqueeze(0)


def attend(
    x: Tensor,
    mlp: Mlp,
    factor: int = 1,
    shift: Tensor | None = None,
    out: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Channel attention, Eq. (4): ``factor * gate(x) * (x + shift)``, a new tensor or in ``out``.

    Args:
        x: ``(N, C, H, W)``.
        shift: ``(C,)``; the gate does not see it.
        residual: ``(N, C, H, W)``, added to x before all else.
    """
    x = x if residual is None else x + residual
    gate = channel_logits(pixel_mean(x).flatten(1)[:, None, None], mlp).sigmoid().squeeze(1)[..., None, None]
    gate = gate if factor == 1 else factor * gate
    if shift is None:
        return torch.mul(x, gate, out=out)
    return torch.addcmul(gate * shift.view(-1, 1, 1), x, gate, out=out)
