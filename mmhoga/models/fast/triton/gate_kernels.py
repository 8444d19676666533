"""The kernels of :mod:`mmhoga.models.fast.triton.gates`, and its kinds of gates.

Kinds: 0 none, 1 ``(N, C, 1, 1)``, 2 ``(N, 1, H, W)``, 3 ``(N, C, H, W)``, 4 both of 1 and 2.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmhoga.models.fast.triton.slices import channel_gate, maps, pixel_gate


@triton.jit
def sum_kernel(
    out, out_width, x0, w0, g0, gw0, c0, cw0, x1, w1, g1, gw1, c1, cw1, x2, w2, g2, gw2, c2, cw2,
    x3, w3, g3, gw3, c3, cw3, copy, copy_width, partial, C, HW,
    K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, K3: tl.constexpr,
    COPY: tl.constexpr, POOL: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """``out = x0 gate0 + x1 gate1 + ...`` for a block of pixels of one image; K: kinds, -1 for no message.

    COPY: also write the first product alone. POOL: also write the part of this block in the mean over pixels.
    """
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.arange(0, BC)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    total = _product(x0, w0, g0, gw0, c0, cw0, n, p, c, C, HW, K0, LAST)
    if COPY:
        tl.store(maps(copy, copy_width, n, p, c, HW, LAST), total.to(copy.dtype.element_ty), mask=mask)
    if K1 >= 0:
        total += _product(x1, w1, g1, gw1, c1, cw1, n, p, c, C, HW, K1, LAST)
    if K2 >= 0:
        total += _product(x2, w2, g2, gw2, c2, cw2, n, p, c, C, HW, K2, LAST)
    if K3 >= 0:
        total += _product(x3, w3, g3, gw3, c3, cw3, n, p, c, C, HW, K3, LAST)
    tl.store(maps(out, out_width, n, p, c, HW, LAST), total.to(out.dtype.element_ty), mask=mask)
    if POOL:
        row = (tl.program_id(1) * tl.num_programs(0) + n) * C
        tl.store(partial + row + c, tl.sum(total, 0) / HW, mask=c < C)


@triton.jit
def gradient_kernel(
    d0, dw0, d1, dw1, d2, dw2, d3, dw3, d4, dw4, d5, dw5,
    x0, w0, g0, gw0, c0, cw0, x1, w1, g1, gw1, c1, cw1, x2, w2, g2, gw2, c2, cw2, x3, w3, g3, gw3, c3, cw3,
    dx0, dg0, dc0, dx1, dg1, dc1, dx2, dg2, dc2, dx3, dg3, dc3, C, HW, USES: tl.constexpr,
    K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, K3: tl.constexpr,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradients of gated messages. Those of channel gates are sums over one block of pixels.

    That of the sum is ``d0 + d1 + ...``, from its USES.
    """
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    c = tl.arange(0, BC)
    mask = (p < HW)[:, None] & (c < C)[None, :]
    dy = tl.load(maps(d0, dw0, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if USES > 1:
        dy += tl.load(maps(d1, dw1, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if USES > 2:
        dy += tl.load(maps(d2, dw2, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if USES > 3:
        dy += tl.load(maps(d3, dw3, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if USES > 4:
        dy += tl.load(maps(d4, dw4, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if USES > 5:
        dy += tl.load(maps(d5, dw5, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    _gradients(dy, x0, w0, g0, gw0, c0, cw0, dx0, dg0, dc0, n, p, c, C, HW, K0, LAST)
    if K1 >= 0:
        _gradients(dy, x1, w1, g1, gw1, c1, cw1, dx1, dg1, dc1, n, p, c, C, HW, K1, LAST)
    if K2 >= 0:
        _gradients(dy, x2, w2, g2, gw2, c2, cw2, dx2, dg2, dc2, n, p, c, C, HW, K2, LAST)
    if K3 >= 0:
        _gradients(dy, x3, w3, g3, gw3, c3, cw3, dx3, dg3, dc3, n, p, c, C, HW, K3, LAST)


@triton.jit
def _product(
    x, width, gate, gate_width, channel, channel_width, n, p, c, C, HW, KIND: tl.constexpr, LAST: tl.constexpr
):
    mask = (p < HW)[:, None] & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32)
    if KIND == 1:
        value *= channel_gate(gate, gate_width, n, c, C)[None, :]
    if KIND == 2 or KIND == 4:
        value *= pixel_gate(gate, gate_width, n, p, HW, LAST)[:, None]
    if KIND == 3:
        logits = tl.load(maps(gate, gate_width, n, p, c, HW, LAST), mask=mask, other=0.0)
        value *= tl.sigmoid(logits.to(tl.float32))
    if KIND == 4:
        value *= channel_gate(channel, channel_width, n, c, C)[None, :]
    return value


@triton.jit
def _gradients(
    dy, x, width, gate, gate_width, channel, channel_width, dx, dgate, dchannel, n, p, c, C, HW,
    KIND: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """With s the sigmoid of a logit, its gradient is dy x s (1 - s), times the other gate if there is one."""
    mask = (p < HW)[:, None] & (c < C)[None, :]
    value = tl.load(maps(x, width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32) * dy
    dx_value = dy
    row = (tl.program_id(1) * tl.num_programs(0) + n) * C + c
    if KIND == 1:
        s = channel_gate(gate, gate_width, n, c, C)
        tl.store(dgate + row, tl.sum(value, 0) * s * (1 - s), mask=c < C)
        dx_value *= s[None, :]
    if KIND == 2:
        s = pixel_gate(gate, gate_width, n, p, HW, LAST)
        tl.store(dgate + n * HW + p, (tl.sum(value, 1) * s * (1 - s)).to(dgate.dtype.element_ty), mask=p < HW)
        dx_value *= s[:, None]
    if KIND == 3:
        s = tl.sigmoid(tl.load(maps(gate, gate_width, n, p, c, HW, LAST), mask=mask, other=0.0).to(tl.float32))
        tl.store(maps(dgate, C, n, p, c, HW, LAST), (value * s * (1 - s)).to(dgate.dtype.element_ty), mask=mask)
        dx_value *= s
    if KIND == 4:
        s = pixel_gate(gate, gate_width, n, p, HW, LAST)
        t = channel_gate(channel, channel_width, n, c, C)
        by_pixel = tl.sum(value * t[None, :], 1) * s * (1 - s)
        tl.store(dgate + n * HW + p, by_pixel.to(dgate.dtype.element_ty), mask=p < HW)
        tl.store(dchannel + row, tl.sum(value * s[:, None], 0) * t * (1 - t), mask=c < C)
        dx_value *= s[:, None] * t[None, :]
    tl.store(maps(dx, C, n, p, c, HW, LAST), dx_value.to(dx.dtype.element_ty), mask=mask)
