"""Hyperbolic functions and their inverses, from :mod:`exponential` and :mod:`logarithm`.

Every formula keeps its relative accuracy down to 0 because it starts from ``e^x - 1`` or
``log(1 + x)``; none overflows before its result does.
"""

from __future__ import annotations

import numpy as np

from graphc.emit.vmath import tables
from graphc.emit.vmath.avx512 import estimate, inverse, inverse_root, piecewise, quotient, root
from graphc.emit.vmath.exponential import (
    exp_parts,
    expm1_moderate,
    expm1_quarter,
    scale,
)
from graphc.emit.vmath.logarithm import (
    INFINITY,
    LN2_WHOLE,
    NAN,
    log1p_value,
    log_near,
    log_of_quotient,
)
from graphc.emit.vmath.lower import lowered
from graphc.emit.vmath.trace import Real, fma, muladd, polynomial, select

_TANH = {  # (tanh(x) - x) / x^3, |x| <= 0.625
    32: (-0.3333328068256378, 0.13331443071365356, -0.0537397563457489, 0.02063922770321369,
         -0.0057051475159823895),
    64: (-0.33333333333332854, 0.13333333333261982, -0.05396825393121533, 0.021869487574877708,
         -0.008863220986600253, 0.0035919890443593264, -0.0014549582138120585,
         0.0005863143676769555, -0.00022855982211315805, 7.71393773706058e-05,
         -1.607012881561637e-05),
}  # fmt: skip


def _tiny(x: Real) -> float:
    """The ``x`` below which ``x (1 + O(x^2))`` is ``x``."""
    return 2.0**-13 if x.single else 2.0**-27


@lowered(np.sinh, wide=(32, 64))
def sinh(x: Real) -> Real:
    """``(E + E / (E + 1)) / 2`` with ``E = e^|x| - 1``."""
    a = abs(x)
    quarter = expm1_quarter(a)
    result = muladd(quarter, 2.0, quotient(quarter, quarter + 0.25) * 0.5)
    return select(a < _tiny(x), x, result.copysign(x))


@lowered(np.cosh, wide=(32, 64))
def cosh(x: Real) -> Real:
    """``h + 1 / (4 h)`` with ``h = e^|x| / 2``."""
    a = abs(x)
    p, k = exp_parts(select(a > 711.0, 711.0, a) if not x.single else select(a > 90.0, 90.0, a))
    half = scale(p, k - 1.0)
    return half + quotient(x.lift(0.25), select(half > 1e9, 1e9, half))


@lowered(np.tanh, wide=(32, 64))
def tanh(x: Real) -> Real:
    """``1 - 2 / (e^(2|x|) + 1)``, below 0.625 a polynomial; exactly 1 from 9.1 (20) on.

    Wide, piecewise polynomials in float32.
    """
    a = abs(x)
    limit = 9.1 if x.single else 20.0
    if x.wide and x.single:
        return piecewise(select(a > 9.4, 9.4, a), 0.75, tables.tanh()).copysign(x)
    if x.wide:
        e = expm1_moderate(select(a > limit, limit, a) * 2.0)
        r = inverse(e + 2.0)
        t = e * r
        return fma(fma(-e, t, fma(t, -2.0, e)), r, t).copysign(x)
    z = a * a
    small = muladd(a * z, polynomial(z, _TANH[x.width]), a)
    p, k = exp_parts(select(a > limit, limit, a) * 2.0)
    large = 1.0 - 2.0 / (scale(p, k) + 1.0)
    return select(a < 0.625, small, large).copysign(x)


@lowered(np.arcsinh, wide=(32, 64))
def asinh(x: Real) -> Real:
    """``log1p(a + a^2 / (1 + sqrt(a^2 + 1)))`` with ``a = |x|``; ``log a + log 2`` if huge."""
    a = abs(x)
    huge = a > (2.0**30 if x.single else 2.0**60)
    b = select(huge, 1.0, a)
    square = b * b
    y = select(huge, a, b + quotient(square, root(square + 1.0) + 1.0))
    if x.wide:
        total = square + 1.0
        result = log_near(y, select(huge, a, fma(total, inverse_root(total), b)))
        return (result + select(huge, LN2_WHOLE, x.lift(0.0))).copysign(x)
    result = log1p_value(y) + select(huge, LN2_WHOLE, x.lift(0.0))
    return select((a < _tiny(x)) | a.equals(INFINITY) | x.isnan(), x, result.copysign(x))


@lowered(np.arccosh, wide=(32, 64))
def acosh(x: Real) -> Real:
    """``log1p(t + sqrt(t (t + 2)))`` with ``t = x - 1``; ``log x + log 2`` if huge."""
    huge = x > (2.0**30 if x.single else 2.0**60)
    t = x - 1.0
    square = muladd(t, t, t * 2.0)
    if x.wide:
        square = select(square < 2.0**-60, 2.0**-60, square)
        near = select(huge, x, fma(square, inverse_root(square), x))
        result = log_near(select(huge, x, t + root(square)), near)
        result = select(x.equals(1.0), 0.0, result)
    else:
        result = log1p_value(select(huge, x, t + root(square)))
        result = select(x.equals(INFINITY), INFINITY, result)
    return select(x >= 1.0, result + select(huge, LN2_WHOLE, x.lift(0.0)), NAN)


@lowered(np.arctanh, wide=(32, 64))
def atanh(x: Real) -> Real:
    """``log1p(2a / (1 - a)) / 2`` with ``a = |x|``."""
    a = abs(x)
    if x.wide:
        result = log_of_quotient(a, (a + 1.0) * estimate(1.0 - a)) * 0.5
        return select(a <= 1.0, result.copysign(x), NAN)
    result = log1p_value((a + a) / (1.0 - a)) * 0.5
    result = select(a.equals(1.0), INFINITY, select(a <= 1.0, result, NAN))
    return select(a < _tiny(x), x, result.copysign(x))
