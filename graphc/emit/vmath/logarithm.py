"""Logarithms: ``x = 2^k m`` with ``m`` in ``[sqrt(1/2), sqrt(2))``, ``log m`` by a polynomial.

With ``f = m - 1``, ``log(1 + f) = f - f^2/2 + f^3 P(f)``; ``P`` is minimax, fitted by Remez'
algorithm to the relative error of the result. In float64 fewer terms do, in powers of
``s = f / (2 + f)``: ``log(1 + f) = 2 atanh s = f - f^2/2 + s (f^2/2 + s^2 R(s^2))``, the
arrangement of FreeBSD's msun.
"""

from __future__ import annotations

import numpy as np

from graphc.emit.vmath import tables
from graphc.emit.vmath.avx512 import exponent, held, lookup, mantissa, quotient, scaled
from graphc.emit.vmath.exponential import LN2_SHORT
from graphc.emit.vmath.lower import lowered
from graphc.emit.vmath.trace import Int, Real, fma, muladd, polynomial, select

INFINITY = float("inf")
NAN = float("nan")

_LOG = (  # float32: (log(1+f) - f + f^2/2) / f^3
    0.3333333134651184, -0.2500082850456238, 0.20001259446144104, -0.1662306785583496,
    0.14200730621814728, -0.13162130117416382, 0.12770286202430725, -0.0764034166932106,
)  # fmt: skip
_LOG_ATANH = (  # float64: (2 atanh(s) - 2 s) / s^3 in powers of s^2
    0.6666666666666736, 0.399999999994052, 0.28571428744701804, 0.2222219831611964,
    0.18183578641349366, 0.15313661164633557, 0.1480006636357716,
)  # fmt: skip
_LOG_WIDE = {  # (log(1+r) - r) / r^2 for -1/30 < r < 1/16 (float32: -1/60 < r < 1/32)
    32: (-0.5000011920928955, 0.333366334438324, -0.24398064613342285),
    64: (-0.49999999999999994, 0.3333333333333331, -0.2500000000004872, 0.2000000000058062,
         -0.16666666550758358, 0.14285712061643469, -0.1250009740899813, 0.11113846916215103,
         -0.0998433749430443, 0.08073951408748502),
}  # fmt: skip
_ROOT_HALF = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}  # bits of sqrt(1/2)
_LOG10_2 = {  # log10(2) in so few digits that its product with k is exact, and the rest
    32: (0.301025390625, 4.605039066518657e-06),
    64: (0.3010299956640665, -8.532344317057107e-14),
}
LN2_WHOLE = 0.6931471805599453
_DIGITS = {32: 23, 64: 52}
_SMALLEST_NORMAL = {32: 2.0**-126, 64: 2.0**-1022}


def split(x: Real) -> tuple[Real, Real]:
    """Return ``2^d k`` and ``f`` with ``x = 2^k (1 + f)``, for positive normal ``x``.

    ``k`` is left where the bits of ``x`` have it, ``d`` digits up.
    """
    bits = x.bits()
    power = (bits - _ROOT_HALF[x.width]) & -(1 << _DIGITS[x.width])
    return power.number(), (bits - power).real() - 1.0


def log_of_one_plus(f: Real) -> Real:
    """``log(1 + f) - f`` for ``f`` in ``[sqrt(1/2) - 1, sqrt(2) - 1]``."""
    square = f * f
    if f.single:
        return muladd(f * square, polynomial(f, _LOG), square * -0.5)
    half_square = square * 0.5
    s = quotient(f, f + 2.0)
    z = s * s
    return muladd(s, muladd(z, polynomial(z, _LOG_ATANH), half_square), -half_square)


def split_any(x: Real) -> tuple[Real, Real]:
    """:func:`split` for positive ``x``, subnormal numbers too."""
    digits = _DIGITS[x.width]
    small = x < _SMALLEST_NORMAL[x.width]
    k, f = split(select(small, x * 2.0**digits, x))
    return select(small, k - digits * 2.0**digits, k), f


def _joined(k: Real, f: Real) -> Real:
    """``k ln 2 + log(1 + f)``, with ``k`` as from :func:`split`."""
    unit = 2.0 ** -_DIGITS[f.width]
    high, low = LN2_SHORT[f.width]
    return muladd(k, high * unit, f + muladd(k, low * unit, log_of_one_plus(f)))


def _split_wide(x: Real) -> tuple[Real, Real, Int]:
    """Return ``k, m, j`` with ``x = 2^k m``, ``m`` in ``[1, 2)`` and its interval ``j``.

    NaN for negative ``x``; at 0 and infinity, ``k`` is what the logarithm is.
    """
    k, m = exponent(x), mantissa(x)
    return k, m, _interval_of(m)


def _log_wide(x: Real, base: int) -> Real:
    """The logarithm to a base (0 for e): ``k log 2 + log c + log(m / c)`` with ``c`` near ``m``."""
    k, m, j = _split_wide(x)
    return _sum_wide(k, fma(m, lookup(tables.inverses(x.width), j), -1.0), j, base)


def _sum_wide(k: Real, r: Real, j: Int, base: int) -> Real:
    table = tables.logarithms(k.width, base)
    high = k + lookup(table.high, j) if base == 2 else fma(k, table.two, lookup(table.high, j))
    low = lookup(table.low, j)
    low = low if base == 2 else fma(k, table.two_low, low)
    rest = [c * table.slope for c in _LOG_WIDE[k.width]]
    low = fma(r * r, polynomial(r, rest), low)
    return high + (r + low if base == 0 else fma(r, table.slope, low))


def at_the_ends(x: Real, result: Real) -> Real:
    """A logarithm's ``result``, put right at 0, infinity, below 0 and at NaN."""
    result = select(x < INFINITY, result, x)
    result = select(x < 0.0, NAN, result)
    return select(x.equals(0.0), -INFINITY, result)


@lowered(np.log, wide=(32, 64))
def log(x: Real) -> Real:
    """The natural logarithm."""
    if x.wide:
        return _log_wide(x, 0)
    k, f = split_any(x)
    return at_the_ends(x, _joined(k, f))


def _other_base(x: Real, base: int, unit: float, high: float, low: float) -> Real:
    """``k log_b 2 + log(1 + f) log_b e``, with ``log_b 2`` in two parts."""
    if x.wide:
        return _log_wide(x, base)
    k, f = split_any(x)
    rest = (f + log_of_one_plus(f)) * unit
    scale = 2.0 ** -_DIGITS[x.width]
    return at_the_ends(x, muladd(k, high * scale, muladd(k, low * scale, rest) if low else rest))


@lowered(np.log2, wide=(32, 64))
def log2(x: Real) -> Real:
    """``log_2 x``, exact at powers of two."""
    return _other_base(x, 2, 1.4426950408889634, 1.0, 0.0)


@lowered(np.log10, wide=(32, 64))
def log10(x: Real) -> Real:
    """``log_10 x``."""
    return _other_base(x, 10, 0.4342944819032518, *_LOG10_2[x.width])


def log1p_value(x: Real) -> Real:
    """The formula of :func:`log1p`, for other formulas; wrong at its ends.

    The power of two is that of ``1 + x`` rounded; ``f = 2^-k x + (2^-k - 1)`` is then computed
    with one rounding, from four times ``2^-k`` because that is always a normal number.
    """
    digits, root = _DIGITS[x.width], _ROOT_HALF[x.width]
    power = ((x + 1.0).bits() - root) & -(1 << digits)
    bias = 127 if x.single else 1023
    four = (power * -1 + ((bias + 2) << digits)).real()
    f = muladd(x * 0.25, four, muladd(four, 0.25, -1.0))
    k = power.number()
    return _joined(k, f)


def log_near(y: Real, near: Real) -> Real:
    """``log(1 + y)`` for ``y > -1``, with a number near ``1 + y`` that may be ready earlier."""
    k, j, scale = _interval(near)
    return _sum_wide(k, held(fma(y, scale, scale - 1.0), 1 / 8), j, 0)


def log_of_quotient(a: Real, near: Real) -> Real:
    """``log((1 + a) / (1 - a))`` for ``0 <= a <= 1``, with a number near the quotient."""
    k, j, scale = _interval(near)
    d = 1.0 - a
    small, large = fma(a, scale + 1.0, scale - 1.0), fma(scale, a + 1.0, -d)
    return _sum_wide(k, held(quotient(select(a < 0.5, small, large), d), 1 / 8), j, 0)


def _interval(near: Real) -> tuple[Real, Int, Real]:
    """Return ``k``, the interval ``j`` and ``2^-k / c`` for a logarithm of about ``near``."""
    k, j = exponent(near), _interval_of(near)
    return k, j, scaled(lookup(tables.inverses(near.width), j), -k)


def _interval_of(m: Real) -> Int:
    return m.bits().shift_down(18 if m.single else 48)


@lowered(np.log1p, wide=(32, 64))
def log1p(x: Real) -> Real:
    """``log(1 + x)``; ``x`` itself where that is as good."""
    if x.wide:
        return select(x >= -1.0, log_near(x, x + 1.0).copysign(x), NAN)
    tiny = abs(x) < (2.0**-25 if x.single else 2.0**-54)
    result = select(tiny | x.equals(INFINITY), x, log1p_value(x))
    result = select(x >= -1.0, result, NAN)
    return select(x.equals(-1.0), -INFINITY, result)


def log1p_unit(x: Real) -> Real:
    """``log(1 + x)`` for ``x`` in ``[0, 1]``: the power of two is 0 or 1."""
    upper = x > 0.41421356
    f = select(upper, muladd(x, 0.5, -0.5), x)
    return select(upper, LN2_WHOLE, x.lift(0.0)) + (f + log_of_one_plus(f))
