"""The kernels of the backward pass of :mod:`mmhoga.models.fast.triton.narrow`; ``narrow_kernels.py`` has the words."""

from __future__ import annotations

import triton
import triton.language as tl

from mmhoga.models.fast.triton.narrow_kernels import (
    depth_factor,
    part,
    pixels,
    point_factor,
    read,
    relu,
    scalar,
    total_of,
)


@triton.jit
def _store_sums(sums, c, channels, grad, normed):
    """The part's sums for the scale and the shift of a norm: rows c and ``channels + c``."""
    parts = tl.num_programs(0) * tl.num_programs(1)
    tl.store(sums + c * parts + part(), tl.sum(grad * normed, 0))
    tl.store(sums + (channels + c) * parts + part(), tl.sum(grad, 0))


@triton.jit
def reduce_kernel(grad, grad_width, y, saved, sums, HW, OUT: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr):
    """The sums of the last norm."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    channels = tl.num_programs(2) * OUT
    for o in tl.static_range(OUT):
        c = tl.program_id(2) * OUT + o
        dz = read(grad, grad_width, n, c, p, p < HW, HW, LAST)
        normed = (read(y, channels, n, c, p, p < HW, HW, False) - scalar(saved, 2 * c)) * scalar(saved, 2 * c + 1)
        _store_sums(sums, c, channels, dz, normed)


@triton.jit
def _norm_terms(saved, scale, sums, c, channels, HW, TRAINING: tl.constexpr, BP: tl.constexpr):
    """m, r, a, s and d of the gradient ``a (dz - s - (y - m) r d)`` of a norm."""
    m, r = scalar(saved, 2 * c), scalar(saved, 2 * c + 1)
    s = 0.0
    d = 0.0
    if TRAINING:
        parts = tl.num_programs(0) * tl.num_programs(1)
        number = tl.num_programs(0).to(tl.float32) * HW
        s = total_of(sums + (channels + c) * parts, BP) / number
        d = total_of(sums + c * parts, BP) / number
    return m, r, scalar(scale, c) * r, s, d


@triton.jit
def _norm_gradient(
    grad, width, y, channels, n, c, p, inside, HW, m, r, a, s, d, TRAINING: tl.constexpr, LAST: tl.constexpr
):
    value = read(grad, width, n, c, p, inside, HW, LAST)
    if TRAINING:
        normed = (read(y, channels, n, c, p, inside, HW, False) - m) * r
        value = tl.where(inside, value - s - normed * d, 0.0)
    return a * value


@triton.jit
def gradient_kernel(
    grad, width, y, saved, scale, sums, x, x_width, saved1, scale1, shift1, sums1,
    depth, inner, tap, point, dx, ddepth, dpoint, W, HW,
    NORM: tl.constexpr, TRAINING: tl.constexpr,
    FORM: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, OUT: tl.constexpr,
    GRAD_LAST: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """The gradients of a stage: of its 2 inputs, and the part's sums for its weights.

    ``grad`` is the gradient of the result of its norm, and y the result of its convolution. With NORM, the inputs are a
    ReLU of the norm of x, and dx is the gradient of what this norm gives; the sums of this norm follow.
    """
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    e, edges = tl.program_id(2), tl.num_programs(2)
    parts = tl.num_programs(0) * tl.num_programs(1)
    x0 = read(x, x_width, n, 2 * e, p, p < HW, HW, LAST)
    x1 = read(x, x_width, n, 2 * e + 1, p, p < HW, HW, LAST)
    if NORM:
        normed0 = (x0 - scalar(saved1, 4 * e)) * scalar(saved1, 4 * e + 1)
        normed1 = (x1 - scalar(saved1, 4 * e + 2)) * scalar(saved1, 4 * e + 3)
        x0 = relu(normed0 * scalar(scale1, 2 * e) + scalar(shift1, 2 * e))
        x1 = relu(normed1 * scalar(scale1, 2 * e + 1) + scalar(shift1, 2 * e + 1))
    ma, ra, aa, sa, da = _norm_terms(saved, scale, sums, e * OUT, edges * OUT, HW, TRAINING, BP)
    if OUT == 2:
        mb, rb, ab, sb, db = _norm_terms(saved, scale, sums, e * OUT + 1, edges * OUT, HW, TRAINING, BP)
    dx0 = tl.zeros((BP,), tl.float32)
    dx1 = tl.zeros((BP,), tl.float32)
    pa0 = 0.0  # of the point-wise weights of output a from inputs 0 and 1, then of output b
    pa1 = 0.0
    pb0 = 0.0
    pb1 = 0.0
    for i in tl.static_range(SIZE):
        for j in tl.static_range(SIZE):
            t = i * SIZE + j
            row = p // W - (i - SIZE // 2) * STEP
            column = p % W - (j - SIZE // 2) * STEP
            inside = (p < HW) & (row >= 0) & (row < HW // W) & (column >= 0) & (column < W)
            q = row * W + column
            dy = _norm_gradient(
                grad, width, y, edges * OUT, n, e * OUT, q, inside, HW, ma, ra, aa, sa, da, TRAINING, GRAD_LAST
            )
            g0, g1 = tl.sum(x0 * dy, 0), tl.sum(x1 * dy, 0)  # the gradient of the weights of the dense form
            k0 = depth_factor(depth, inner, tap, e, 0, 0, t, SIZE, OUT, FORM)
            k1 = depth_factor(depth, inner, tap, e, 0, 1, t, SIZE, OUT, FORM)
            f0, f1 = point_factor(point, e, 0, 0, OUT, FORM), point_factor(point, e, 0, 1, OUT, FORM)
            dx0 += dy * (k0 * f0)
            dx1 += dy * (k1 * f1)
            pa0 += g0 * k0
            pa1 += g1 * k1
            g0 *= f0
            g1 *= f1
            if OUT == 2:
                dy = _norm_gradient(
                    grad, width, y, edges * OUT, n, e * OUT + 1, q, inside, HW, mb, rb, ab, sb, db, TRAINING, GRAD_LAST
                )
                h0, h1 = tl.sum(x0 * dy, 0), tl.sum(x1 * dy, 0)
                k0 = depth_factor(depth, inner, tap, e, 1, 0, t, SIZE, OUT, FORM)
                k1 = depth_factor(depth, inner, tap, e, 1, 1, t, SIZE, OUT, FORM)
                f0, f1 = point_factor(point, e, 1, 0, OUT, FORM), point_factor(point, e, 1, 1, OUT, FORM)
                dx0 += dy * (k0 * f0)
                dx1 += dy * (k1 * f1)
                pb0 += h0 * k0
                pb1 += h1 * k1
                if FORM == 0:
                    target = ddepth + ((e * 4 + 2) * SIZE * SIZE + t) * parts + part()
                    tl.store(target, h0)
                    tl.store(target + SIZE * SIZE * parts, h1)
                else:
                    g0 += h0 * f0
                    g1 += h1 * f1
            if FORM == 0:
                target = ddepth + (e * OUT * 2 * SIZE * SIZE + t) * parts + part()
            else:
                target = ddepth + (e * 2 * SIZE * SIZE + t) * parts + part()
            tl.store(target, g0)
            tl.store(target + SIZE * SIZE * parts, g1)
    if FORM == 1:
        target = dpoint + e * OUT * 2 * parts + part()
        tl.store(target, pa0)
        tl.store(target + parts, pa1)
        if OUT == 2:
            tl.store(target + 2 * parts, pb0)
            tl.store(target + 3 * parts, pb1)
    if FORM == 2:
        tl.store(dpoint + e * parts + part(), pa0 + pa1)
    if NORM:
        dx0 = tl.where(x0 <= 0, 0.0, dx0)
        dx1 = tl.where(x1 <= 0, 0.0, dx1)
        _store_sums(sums1, 2 * e, edges * 2, tl.where(p < HW, dx0, 0.0), normed0)
        _store_sums(sums1, 2 * e + 1, edges * 2, tl.where(p < HW, dx1, 0.0), normed1)
    tl.store(pixels(dx, edges * 2, n, 2 * e, p, HW, LAST), dx0.to(dx.dtype.element_ty), mask=p < HW)
    tl.store(pixels(dx, edges * 2, n, 2 * e + 1, p, HW, LAST), dx1.to(dx.dtype.element_ty), mask=p < HW)
