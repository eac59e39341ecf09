"""Roots and powers.

``x^y = 2^(y log2 x)``; the logarithm and its product with ``y`` are kept as unevaluated sums of
two numbers, because their absolute error is the relative error of the result. Products split by
fused multiply-adds (Dekker 1971; Muller et al., *Handbook of Floating-Point Arithmetic*, 2018).

With AVX-512, ``x = 2^k m`` and ``m = c (1 + r)`` for the ``c`` of a table (Tang, *Table-driven
implementation of the logarithm function*, 1990). The interval around 1 has ``c = 1``, so there
``r`` is ``x - 1`` and the logarithm's error is relative to it. A register of positive normal
bases and finite exponents, as nearly all are, skips what the other cases need.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.emit.vmath import tables
from graphc.emit.vmath.avx512 import (
    NOT_FINITE,
    NOT_POSITIVE_NORMAL,
    held,
    is_any,
    lookup,
    scaled,
)
from graphc.emit.vmath.exponential import EXP2_WIDE, exp2_value, shifter
from graphc.emit.vmath.logarithm import INFINITY, NAN, split_any
from graphc.emit.vmath.lower import lowered
from graphc.emit.vmath.trace import Int, Real, clamp, estrin, fma, muladd, polynomial, select
from graphc.emit.vmath.variants import unless_any

_SLOPE = {  # 2 / ln 2 and what its rounding leaves: log2(1+f) = s (slope + z (cube + z R(z)))
    32: (2.885390043258667, 3.851926067000022e-08),
    64: (2.8853900817779268, 4.0710547481862066e-17),
}
_CUBE = {  # a third of that
    32: (0.9617967009544373, -7.028461812552678e-09),
    64: (0.9617966939259756, 5.0577616648125907e-17),
}
_REST = {  # the remaining terms of 2 atanh(s) / ln 2, in powers of z = s^2
    32: (0.577080249786377, 0.4118470251560211, 0.3378846049308777),
    64: (0.5770780163555851, 0.4121985831113733, 0.32059889790716317, 0.2623081992543075,
         0.22195223433914407, 0.1924025710652506, 0.16842834966651374, 0.1729955598564542),
}  # fmt: skip
_LOG2E = {  # 1 / ln 2 and what its rounding leaves
    32: (1.4426950216293335, 1.925963033500011e-08),
    64: (1.4426950408889634, 2.0355273740931033e-17),
}
_REST_WIDE = {  # (log2(1+r) - r / ln 2) / r^2; float64: and (that + 1 / (2 ln 2)) / r
    32: (-0.7213475108146667, 0.4808982312679291, -0.36076512932777405, 0.2892582416534424),
    64: (0.48089834696298783, -0.36067376022222547, 0.2885390081771721, -0.24044917360281154,
         0.20609929405207536, -0.1803365688884933, 0.16029575143410787, -0.14459489163577327,
         0.1330519426488843),
}  # fmt: skip


@lowered(np.sqrt)
def sqrt(x: Real) -> Real:
    """The square root, correctly rounded."""
    return x.intrinsic("sqrt")


@lowered(lambda x: 1 / np.sqrt(x))
def rsqrt(x: Real) -> Real:
    """``1 / sqrt(x)``."""
    return 1.0 / x.intrinsic("sqrt")


@lowered(np.hypot)
def hypot(x: Real, y: Real) -> Real:
    """``sqrt(x^2 + y^2)``, scaled so that it overflows only where the result does."""
    a, b = abs(x), abs(y)
    larger, smaller = select(a < b, b, a), select(a < b, a, b)
    ratio = smaller / larger
    result = larger * muladd(ratio, ratio, 1.0).intrinsic("sqrt")
    result = select((a + b).equals(0.0), larger, result)
    return select(a.equals(INFINITY) | b.equals(INFINITY), INFINITY, result)


def _log2_pair(x: Real) -> tuple[Real, Real]:
    """``log2 x`` for ``x > 0`` as a sum of two numbers."""
    k, f = split_any(x)
    k = k * (2.0**-23 if x.single else 2.0**-52)
    d = f + 2.0
    d_low = f - (d - 2.0)
    inverse = 1.0 / d
    s = f * inverse
    s_low = fma(-s, d_low, fma(-s, d, f)) * inverse
    z = s * s
    z_low = fma(s, s, -z) + s * s_low * 2.0
    (slope, slope_low), (cube, cube_low) = _SLOPE[x.width], _CUBE[x.width]
    # g + g_low = z (cube + z R(z)); h + h_low = slope + g; result = k + s h
    g = z * cube
    g_low = fma(z, cube, -g) + muladd(z_low, cube, z * cube_low)
    g_low = g_low + z * z * polynomial(z, _REST[x.width])
    h = g + slope
    h_low = g - (h - slope) + (g_low + slope_low)
    product = s * h
    low = fma(s, h, -product) + muladd(s_low, h, s * h_low)
    high = k + product
    return high, k - high + product + low


def _integer_power(x: Int, y: Int) -> Int:
    """``x^y`` by squaring, wrapping around; for ``y < 0``, ``1 / x^-y`` rounded towards 0."""
    builder, kind = x.builder, x.ir.type
    times = select(y < 0, 0, y)
    entry = builder.block
    loop, done = builder.append_basic_block("power"), builder.append_basic_block("raised")
    builder.branch(loop)
    builder.position_at_end(loop)
    result, base, rest = (Int(builder, builder.phi(kind)) for _ in range(3))
    product = select((rest & 1).equals(0), result, result * base)
    square, half = base * base, rest >> 1
    steps = ((result, x.lift(1), product), (base, x, square), (rest, times, half))
    for phi, first, following in steps:
        phi.ir.add_incoming(first.ir, entry)
        phi.ir.add_incoming(following.ir, loop)
    builder.cbranch(half.equals(0).ir, done, loop)
    builder.position_at_end(done)
    unit = select((y & 1).equals(0), x * x, x)
    inverse = select(x.equals(1) | x.equals(-1), unit, 0)
    return select(y < 0, inverse, product)


def _power(x: Any, y: Any) -> Any:
    kind = np.asarray(x).dtype
    if kind.kind == "f" or y >= 0:
        return np.power(x, y)
    return kind.type(x ** (-y % 2) if x in (1, -1) else 0)


@lowered(_power, wide=(32, 64))
def pow(x: Any, y: Any) -> Any:
    """``x^y`` with the special cases of C99: ``x^0 = 1^y = 1``, odd powers keep the sign.

    Integers wrap around; their negative powers are 0, but for the bases 1 and -1.
    """
    return _integer_power(x, y) if isinstance(x, Int) else _real_power(x, y)


def _log2_pair_wide(x: Real, more: Real | None = None) -> tuple[Real, Real]:
    """``log2 x + more`` for positive normal ``x``, and an integer, as a sum of two numbers."""
    digits, index, least = (23, 18, 0x3F400000) if x.single else (52, 48, 0x3FE8000000000000)
    bits = x.bits()
    above = bits - (least - (1 << index - 1))  # the interval around 3/4 is the first
    j = above.shift_down(index)
    m = (bits - (above & -(1 << digits))).real()
    r = fma(m, lookup(tables.short_inverses(x.width), j), -1.0)
    table = tables.logarithms(x.width, 2, short=True)
    whole = (above >> digits).number()
    head = (whole if more is None else whole + more) + lookup(table.high, j)
    slope, slope_low = _LOG2E[x.width]
    square = r * r
    high = fma(r, slope, head)
    low = fma(r, slope, head - high) + lookup(table.low, j)
    rest = _REST_WIDE[x.width]
    if not x.single:
        before, high = high, fma(square, -slope / 2, high)
        low = fma(square, -slope / 2, before - high) + low
        low = fma(fma(r, r, -square), -slope / 2, low)
        rest = (-slope_low / 2, *rest)
    return high, fma(square, estrin(r, rest), fma(r, slope_low, low))


def _exp2_of_product(y: Real, high: Real, low: Real) -> Real:
    """``2^(y (high + low))``; NaN for NaN, ``low`` is finite."""
    e = y * high
    e_low = fma(y, low, fma(y, high, -e))
    large = shifter(y) / 16
    shifted = fma(y, low, e) + large
    k = shifted - large
    r = held(e - k + e_low, 1 / 16)  # may be anything where the result overflows
    t = lookup(tables.powers_of_two(y.width)[0], shifted.bits())
    return scaled(fma(t * r, estrin(r, EXP2_WIDE[y.width]), t), k)


def _usual_power(x: Real, y: Real) -> Real:
    """``x^y`` for positive normal ``x`` and finite ``y``."""
    return _exp2_of_product(y, *_log2_pair_wide(x))


def _rare_power(x: Real, y: Real) -> Real:
    """``x^y`` for any operands; where :func:`_usual_power` holds, the same bits."""
    a, digits = abs(x), 23.0 if x.single else 52.0
    small = a < (2.0**-126 if x.single else 2.0**-1022)
    normal = select(small, a * 2.0**digits, a)
    high, low = _log2_pair_wide(normal, select(small, a.lift(-digits), 0.0))
    high, low = _at_the_ends(a, high), select(a.equals(0.0) | a.equals(INFINITY), 0.0, low)
    return _signed(x, y, _exp2_of_product(_bounded(y), high, low))


def _at_the_ends(a: Real, log2: Real) -> Real:
    """The logarithm of ``a >= 0``, put right at 0, infinity and NaN."""
    return select(a.equals(0.0), -INFINITY, select(a < INFINITY, log2, a))


def _bounded(y: Real) -> Real:
    """``y`` held where powers of numbers other than 1 are neither 0 nor infinity, or beyond."""
    limit = 2.0**40 if y.single else 2.0**70
    return clamp(y, -limit, limit)


def _signed(x: Real, y: Real, result: Real) -> Real:
    """``x^y`` from ``|x|^y``."""
    whole = y.intrinsic("trunc").equals(y)
    half = y * 0.5
    odd = whole & ~half.intrinsic("trunc").equals(half)
    result = select(odd, result.copysign(x), result)
    result = select((x < 0.0) & (x > -INFINITY) & ~whole & ~y.isnan(), NAN, result)
    return select(x.equals(1.0) | y.equals(0.0), 1.0, result)


def _real_power(x: Real, y: Real) -> Real:
    if x.wide:
        special = is_any(x, NOT_POSITIVE_NORMAL) | is_any(y, NOT_FINITE)
        return unless_any(special, _usual_power, _rare_power, [x, y])
    a, held_y = abs(x), _bounded(y)
    high, low = _log2_pair(a)
    high = _at_the_ends(a, high)
    e = held_y * high
    bound = 200.0 if x.single else 1100.0
    e_low = select(abs(e) < bound, fma(held_y, high, -e) + held_y * low, 0.0)
    e_low = select(a.equals(INFINITY) | a.equals(0.0), 0.0, e_low)
    return _signed(x, y, exp2_value(clamp(e, -bound, bound), e_low))
