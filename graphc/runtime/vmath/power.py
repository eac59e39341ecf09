"""Roots and powers.

``x^y = 2^(y log2 x)``; the logarithm and its product with ``y`` are kept as unevaluated sums of
two numbers, because their absolute error is the relative error of the result. Products split by
fused multiply-adds (Dekker 1971; Muller et al., *Handbook of Floating-Point Arithmetic*, 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.runtime.vmath.exponential import exp2_value
from graphc.runtime.vmath.logarithm import INFINITY, NAN, split_any
from graphc.runtime.vmath.lower import lowered
from graphc.runtime.vmath.trace import Int, Real, clamp, fma, polynomial, select

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
    result = larger * fma(ratio, ratio, 1.0).intrinsic("sqrt")
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
    g_low = fma(z, cube, -g) + fma(z_low, cube, z * cube_low)
    g_low = g_low + z * z * polynomial(z, _REST[x.width])
    h = g + slope
    h_low = g - (h - slope) + (g_low + slope_low)
    product = s * h
    low = fma(s, h, -product) + fma(s_low, h, s * h_low)
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


@lowered(_power, integers=True)
def pow(x: Any, y: Any) -> Any:
    """``x^y`` with the special cases of C99: ``x^0 = 1^y = 1``, odd powers keep the sign.

    Integers wrap around; their negative powers are 0, but for the bases 1 and -1.
    """
    return _integer_power(x, y) if isinstance(x, Int) else _real_power(x, y)


def _real_power(x: Real, y: Real) -> Real:
    a = abs(x)
    high, low = _log2_pair(a)
    high = select(a < INFINITY, high, a)
    high = select(a.equals(0.0), -INFINITY, high)
    limit = 2.0**40 if x.single else 2.0**70
    y_held = clamp(y, -limit, limit)
    e = y_held * high
    bound = 200.0 if x.single else 1100.0
    e_low = select(abs(e) < bound, fma(y_held, high, -e) + y_held * low, 0.0)
    e_low = select(a.equals(INFINITY) | a.equals(0.0), 0.0, e_low)
    result = exp2_value(clamp(e, -bound, bound), e_low)
    whole = y.intrinsic("trunc").equals(y)
    half = y * 0.5
    odd = whole & ~half.intrinsic("trunc").equals(half)
    result = select(odd, result.copysign(x), result)
    result = select((x < 0.0) & (x > -INFINITY) & ~whole & ~y.isnan(), NAN, result)
    return select(x.equals(1.0) | y.equals(0.0), 1.0, result)
