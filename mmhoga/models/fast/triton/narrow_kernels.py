"""The kernels of :mod:`mmhoga.models.fast.triton.narrow`.

A stage takes 2 maps of an edge to OUT maps, 1 or 2: a convolution of SIZE x SIZE with dilation STEP, then a norm. The
convolution is dense (FORM 0), or depth-wise and then point-wise (1), or dense to 1 map and then point-wise (2). In each
form a weight of the equal dense convolution is one weight of ``depth`` times, if there is ``point``, one of it.

The programs of all kernels: images, blocks of BP pixels, edges. An image and a block are a *part*. Results of parts are
rows of ``parts`` numbers. Maps between kernels are contiguous.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pixels(x, width, n, c, p, HW, LAST: tl.constexpr):
    """Pointers to pixels p of channel c of image n, a 64-bit integer."""
    start = x + n * HW * width
    if LAST:
        pointers = start + p * width + c
    else:
        pointers = start + c * HW + p
    return pointers


@triton.jit
def read(x, width, n, c, p, mask, HW, LAST: tl.constexpr):
    return tl.load(pixels(x, width, n, c, p, HW, LAST), mask=mask, other=0.0).to(tl.float32)


@triton.jit
def scalar(x, i):
    return tl.load(x + i).to(tl.float32)


@triton.jit
def part():
    return tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)


@triton.jit
def total_of(row, BP: tl.constexpr):
    """The sum of a row."""
    parts = tl.num_programs(0) * tl.num_programs(1)
    total = tl.zeros((BP,), tl.float32)
    for start in range(0, parts, BP):
        i = start + tl.arange(0, BP)
        total += tl.load(row + i, mask=i < parts, other=0.0)
    return tl.sum(total, 0)


@triton.jit
def _sizes(i, HW, BP: tl.constexpr):
    """The number of pixels of parts i, 0 after the last part."""
    blocks = tl.num_programs(1)
    sizes = tl.minimum(BP, HW - i % blocks * BP)
    return tl.where(i < tl.num_programs(0) * blocks, sizes, 0).to(tl.float32)


@triton.jit
def _statistics(rows, mean, var, c, HW, TRAINING: tl.constexpr, BP: tl.constexpr):
    """Mean and biased variance of channel c: given, or from the means and the sums of squared deviations of parts."""
    if TRAINING:
        parts = tl.num_programs(0) * tl.num_programs(1)
        number = tl.num_programs(0).to(tl.float32) * HW
        means = rows + 2 * c * parts
        total = tl.zeros((BP,), tl.float32)
        for start in range(0, parts, BP):
            i = start + tl.arange(0, BP)
            total += _sizes(i, HW, BP) * tl.load(means + i, mask=i < parts, other=0.0)
        m = tl.sum(total, 0) / number
        total = tl.zeros((BP,), tl.float32)
        for start in range(0, parts, BP):
            i = start + tl.arange(0, BP)
            deviation = tl.load(means + i, mask=i < parts, other=0.0) - m
            within = tl.load(means + parts + i, mask=i < parts, other=0.0)
            total += within + _sizes(i, HW, BP) * deviation * deviation
        v = tl.sum(total, 0) / number
    else:
        m = scalar(mean, c)
        v = scalar(var, c)
    return m, v


@triton.jit
def _affine(rows, mean, var, scale, shift, c, HW, eps, TRAINING: tl.constexpr, BP: tl.constexpr):
    """m, a and b of a norm ``(x - m) a + b``."""
    m, v = _statistics(rows, mean, var, c, HW, TRAINING, BP)
    return m, scalar(scale, c) / tl.sqrt(v + eps), scalar(shift, c)


@triton.jit
def relu(x):
    return tl.where(x < 0, 0.0, x)  # keeps NaN


@triton.jit
def depth_factor(depth, inner, tap, e, o, i, t, SIZE: tl.constexpr, OUT: tl.constexpr, FORM: tl.constexpr):
    """The factor in ``depth`` of the weight of output o, input i and element t. Its steps are ``inner`` and ``tap``."""
    if FORM == 0:
        offset = (e * OUT + o) * 2 * SIZE * SIZE + i * inner
    elif FORM == 1:
        offset = (2 * e + i) * SIZE * SIZE
    else:
        offset = e * 2 * SIZE * SIZE + i * inner
    return scalar(depth, offset + t * tap)


@triton.jit
def point_factor(point, e, o, i, OUT: tl.constexpr, FORM: tl.constexpr):
    """The other factor."""
    if FORM == 0:
        factor = 1.0
    elif FORM == 1:
        factor = scalar(point, (e * OUT + o) * 2 + i)
    else:
        factor = scalar(point, e)
    return factor


@triton.jit
def convolve_kernel(
    x, width, rows, mean, var, scale, shift, depth, inner, tap, point, bias, out, out_width, partial, W, HW, eps,
    NORM: tl.constexpr, TRAINING: tl.constexpr, RELU: tl.constexpr,
    FORM: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, OUT: tl.constexpr,
    BIAS: tl.constexpr, LAST: tl.constexpr, OUT_LAST: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """The convolution, and in training the mean and the sum of squared deviations of each part.

    NORM: 0 none, 1 the norm of the stage before and a ReLU first, 2 the norm of this stage, with given statistics.
    """
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    e = tl.program_id(2)
    if NORM == 1:
        m0, a0, b0 = _affine(rows, mean, var, scale, shift, 2 * e, HW, eps, TRAINING, BP)
        m1, a1, b1 = _affine(rows, mean, var, scale, shift, 2 * e + 1, HW, eps, TRAINING, BP)
    y0 = tl.zeros((BP,), tl.float32)
    y1 = tl.zeros((BP,), tl.float32)
    for r in tl.static_range(SIZE):
        for s in tl.static_range(SIZE):
            row = p // W + (r - SIZE // 2) * STEP
            column = p % W + (s - SIZE // 2) * STEP
            inside = (row >= 0) & (row < HW // W) & (column >= 0) & (column < W)
            x0 = read(x, width, n, 2 * e, row * W + column, inside, HW, LAST)
            x1 = read(x, width, n, 2 * e + 1, row * W + column, inside, HW, LAST)
            if NORM == 1:
                x0 = tl.where(inside, relu((x0 - m0) * a0 + b0), 0.0)
                x1 = tl.where(inside, relu((x1 - m1) * a1 + b1), 0.0)
            t = r * SIZE + s
            y0 += x0 * (
                depth_factor(depth, inner, tap, e, 0, 0, t, SIZE, OUT, FORM) * point_factor(point, e, 0, 0, OUT, FORM)
            )
            y0 += x1 * (
                depth_factor(depth, inner, tap, e, 0, 1, t, SIZE, OUT, FORM) * point_factor(point, e, 0, 1, OUT, FORM)
            )
            if OUT == 2:
                y1 += x0 * (
                    depth_factor(depth, inner, tap, e, 1, 0, t, SIZE, OUT, FORM)
                    * point_factor(point, e, 1, 0, OUT, FORM)
                )
                y1 += x1 * (
                    depth_factor(depth, inner, tap, e, 1, 1, t, SIZE, OUT, FORM)
                    * point_factor(point, e, 1, 1, OUT, FORM)
                )
    for o in tl.static_range(OUT):
        c = e * OUT + o
        y = y0
        if o == 1:
            y = y1
        if BIAS:
            y += scalar(bias, c)
        if NORM == 2:
            m, a, b = _affine(rows, mean, var, scale, shift, c, HW, eps, False, BP)
            y = (y - m) * a + b
        if RELU:
            y = relu(y)
        y = y.to(out.dtype.element_ty)
        tl.store(pixels(out, out_width, n, c, p, HW, OUT_LAST), y, mask=p < HW)
        if TRAINING:
            parts = tl.num_programs(0) * tl.num_programs(1)
            size = tl.minimum(BP, HW - tl.program_id(1) * BP)
            stored = y.to(tl.float32)
            center = tl.sum(tl.where(p < HW, stored, 0.0), 0) / size
            deviation = tl.where(p < HW, stored - center, 0.0)
            tl.store(partial + 2 * c * parts + part(), center)
            tl.store(partial + (2 * c + 1) * parts + part(), tl.sum(deviation * deviation, 0))


@triton.jit
def _publish(m, v, mean, var, saved, c, HW, eps, momentum, TRAINING: tl.constexpr):
    """Save mean and inverse deviation for the backward pass, and update the running statistics."""
    tl.store(saved + 2 * c, m)
    tl.store(saved + 2 * c + 1, 1.0 / tl.sqrt(v + eps))
    if TRAINING:
        number = tl.num_programs(0).to(tl.float32) * HW
        unbiased = v * (number / (number - 1))
        new_mean = (1 - momentum) * scalar(mean, c) + momentum * m
        new_var = (1 - momentum) * scalar(var, c) + momentum * unbiased
        tl.store(mean + c, new_mean.to(mean.dtype.element_ty))
        tl.store(var + c, new_var.to(var.dtype.element_ty))


@triton.jit
def norm_kernel(
    y, rows, mean, var, scale, shift, saved, eps, momentum, rows1, mean1, var1, saved1, eps1, momentum1,
    out, out_width, HW,
    FIRST: tl.constexpr, TRAINING: tl.constexpr, OUT: tl.constexpr, OUT_LAST: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """The last norm; the first part also publishes its statistics and, with FIRST, those of the first stage."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    e = tl.program_id(2)
    for o in tl.static_range(OUT):
        c = e * OUT + o
        m, v = _statistics(rows, mean, var, c, HW, TRAINING, BP)
        value = read(y, tl.num_programs(2) * OUT, n, c, p, p < HW, HW, False)
        value = (value - m) * (scalar(scale, c) / tl.sqrt(v + eps)) + scalar(shift, c)
        tl.store(pixels(out, out_width, n, c, p, HW, OUT_LAST), value.to(out.dtype.element_ty), mask=p < HW)
        if tl.program_id(0) + tl.program_id(1) == 0:
            _publish(m, v, mean, var, saved, c, HW, eps, momentum, TRAINING)
    if FIRST:  # noqa: SIM102 (known when compiling, unlike the other condition)
        if tl.program_id(0) + tl.program_id(1) == 0:
            for i in tl.static_range(2):
                m1, v1 = _statistics(rows1, mean1, var1, 2 * e + i, HW, TRAINING, BP)
                _publish(m1, v1, mean1, var1, saved1, 2 * e + i, HW, eps1, momentum1, TRAINING)
