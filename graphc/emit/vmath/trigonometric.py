"""Sine, cosine, tangent and their inverses.

``x = k pi/2 + r`` with ``|r| <= pi/4``: ``k pi/2`` is subtracted in three parts by fused
multiply-adds, of which the first is exact (Boldo, Daumas and Li, *Formally verified argument
reduction with a fused multiply-add*, 2009). Polynomials in ``r^2`` are minimax.
"""

from __future__ import annotations

import numpy as np

from graphc.emit.vmath.lower import lowered, with_fallback
from graphc.emit.vmath.trace import Bool, Int, Real, fma, muladd, polynomial, select

_HALF_PI = {  # pi/2 in three parts
    32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
_TWO_OVER_PI = 0.6366197723675814
_REDUCED = {32: 2.0**17, 64: 2.0**30}
_SIN = {  # (sin(r) - r) / r^3
    32: (-0.16666653752326965, 0.008332150988280773, -0.0001951398007804528),
    64: (-0.1666666666666663, 0.008333333333321893, -0.00019841269829401609, 2.755731355394802e-06,
         -2.5050736875496727e-08, 1.5895581143601916e-10),
}  # fmt: skip
_COS = {  # (cos(r) - 1 + r^2/2) / r^4
    32: (0.04166664555668831, -0.0013887303648516536, 2.4431670681224205e-05),
    64: (0.04166666666666659, -0.0013888888888872733, 2.480158728864439e-05,
         -2.7557314117915883e-07, 2.0875692305648582e-09, -1.1358084988305876e-11),
}  # fmt: skip
_TAN = {  # (tan(r) - r) / r^3
    32: (0.33333152532577515, 0.13338933885097504, 0.053399939090013504, 0.024471361190080643,
         0.003052651882171631, 0.00942586362361908),
    64: (0.33333333333332743, 0.13333333333419295, 0.05396825392443486, 0.021869489662522976,
         0.008863218410257974, 0.0035922958828698646, 0.0014547166118269864,
         0.0005952388893771548, 0.00022186568002849233, 0.00013758637680291426,
         -2.7884321202462193e-05, 9.083203105968789e-05, -4.562293292583814e-05,
         2.104313833127154e-05),
}  # fmt: skip
_ASIN = {  # (asin(x) - x) / x^3, |x| <= 1/2
    32: (0.16666752099990845, 0.07495288550853729, 0.04547161981463432, 0.02417290210723877,
         0.042178284376859665),
    64: (0.16666666666665403, 0.07500000000338702, 0.044642856826877526, 0.030381959198776124,
         0.02237175652551829, 0.01735972836250981, 0.013884996729966303, 0.012170814459651498,
         0.006520896436533791, 0.019548024998331425, -0.016255847814612902, 0.0319343167313308),
}  # fmt: skip
_ATAN = {  # (atan(x) - x) / x^3, |x| <= 1
    32: (-0.33333298563957214, 0.19998547434806824, -0.1426423341035843, 0.10952132940292358,
         -0.08403280377388, 0.05795443803071976, -0.031174466013908386, 0.010912668891251087,
         -0.0017931618494912982),
    64: (-0.33333333333331855, 0.19999999999754817, -0.14285714271322794, 0.11111110678393098,
         -0.09090901229192509, 0.07692212860520009, -0.06665859817745523, 0.05877304714985527,
         -0.05239220323491863, 0.046739099360254846, -0.040925435117637465, 0.034066077789260234,
         -0.025824369884030675, 0.016975458218873578, -0.009182519973762307, 0.003854811307720675,
         -0.0011636194391340044, 0.00022291522790412953, -2.0246877689720716e-05),
}  # fmt: skip
_PI = 3.141592653589793


def _within(x: Real) -> Bool:
    """Whether the reduction is exact enough; true for NaN and infinity, which give NaN."""
    return ~((abs(x) > _REDUCED[x.width]) & (abs(x) < float("inf")))


def _reduce(x: Real) -> tuple[Int, Real]:
    """Return ``k, r`` with ``x = k pi/2 + r``, ``k`` modulo 4."""
    large = 1.5 * 2.0 ** (23 if x.single else 52)
    shifted = muladd(x, _TWO_OVER_PI, large)
    k = shifted - large
    first, second, third = _HALF_PI[x.width]
    return shifted.bits(), fma(k, -third, fma(k, -second, fma(k, -first, x)))


def _sin_cos(r: Real) -> tuple[Real, Real]:
    z = r * r
    sine = muladd(r * z, polynomial(z, _SIN[r.width]), r)
    cosine = muladd(z * z, polynomial(z, _COS[r.width]), muladd(z, -0.5, 1.0))
    return sine, cosine


def _quadrant(k: Int, r: Real) -> Real:
    """``sin(k pi/2 + r)``."""
    sine, cosine = _sin_cos(r)
    value = select((k & 1).equals(0), sine, cosine)
    return (value.bits() ^ ((k & 2) << (k.width - 2))).real()


@with_fallback(np.sin, _within)
def sin(x: Real) -> Real:
    """``sin x``, ``x`` in radians."""
    k, r = _reduce(x)
    return select(x.equals(0.0), x, _quadrant(k, r))


@with_fallback(np.cos, _within)
def cos(x: Real) -> Real:
    """``cos x``, ``x`` in radians."""
    k, r = _reduce(x)
    return _quadrant(k + 1, r)


@with_fallback(np.tan, _within)
def tan(x: Real) -> Real:
    """``tan x``, ``x`` in radians; ``-1 / tan r`` in odd quadrants."""
    k, r = _reduce(x)
    z = r * r
    t = muladd(r * z, polynomial(z, _TAN[x.width]), r)
    return select(x.equals(0.0), x, select((k & 1).equals(0), t, -1.0 / t))


def _asin_parts(x: Real) -> tuple[Bool, Real]:
    """Return whether ``|x| > 1/2``, and ``asin |x|`` or else ``asin sqrt((1 - |x|)/2)``."""
    a = abs(x)
    upper = a > 0.5
    z = select(upper, muladd(a, -0.5, 0.5), a * a)
    s = select(upper, z.intrinsic("sqrt"), a)
    return upper, muladd(s * z, polynomial(z, _ASIN[x.width]), s)


@lowered(np.arcsin)
def asin(x: Real) -> Real:
    """``asin x``; ``pi/2 - 2 asin sqrt((1 - |x|)/2)`` for large ``|x|``."""
    upper, p = _asin_parts(x)
    high, low, _ = _HALF_PI[x.width]
    return select(upper, high - (p * 2.0 - low), p).copysign(x)


@lowered(np.arccos)
def acos(x: Real) -> Real:
    """``acos x``."""
    upper, p = _asin_parts(x)
    high, low, _ = _HALF_PI[x.width]
    outer = select(x < 0.0, 2.0 * high - (p * 2.0 - 2.0 * low), p * 2.0)
    return select(upper, outer, high - (p.copysign(x) - low))


def _atan_unit(a: Real) -> Real:
    """``atan a`` for ``a`` in ``[0, 1]``."""
    z = a * a
    return muladd(a * z, polynomial(z, _ATAN[a.width]), a)


@lowered(np.arctan)
def atan(x: Real) -> Real:
    """``atan x``; ``pi/2 - atan 1/|x|`` for ``|x| > 1``."""
    a = abs(x)
    upper = a > 1.0
    p = _atan_unit(select(upper, 1.0 / a, a))
    high, low, _ = _HALF_PI[x.width]
    return select(upper, high - (p - low), p).copysign(x)


@lowered(np.arctan2)
def atan2(y: Real, x: Real) -> Real:
    """The angle of the point ``(x, y)``, with the signed zeros of C99."""
    a, b = abs(x), abs(y)
    steep = b > a
    larger, smaller = select(steep, b, a), select(steep, a, b)
    ratio = select(a.equals(b) & ~a.equals(0.0), 1.0, smaller / larger)
    p = _atan_unit(select(larger.equals(0.0), 0.0, ratio))
    high, low, _ = _HALF_PI[x.width]
    p = select(steep, high - (p - low), p)
    p = select(x.bits() < 0, 2.0 * high - (p - 2.0 * low), p).copysign(y)
    return select(x.isnan() | y.isnan(), float("nan"), p)
