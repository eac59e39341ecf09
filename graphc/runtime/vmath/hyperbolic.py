"""Hyperbolic functions and their inverses, from :mod:`exponential` and :mod:`logarithm`.

Every formula keeps its relative accuracy down to 0 because it starts from ``e^x - 1`` or
``log(1 + x)``; none overflows before its result does.
"""

from __future__ import annotations

import numpy as np

from graphc.runtime.vmath.exponential import bounded, exp_parts, expm1_quarter, scale
from graphc.runtime.vmath.logarithm import INFINITY, LN2_WHOLE, NAN, log1p_value
from graphc.runtime.vmath.lower import lowered
from graphc.runtime.vmath.trace import Real, clamp, fma, select


def _tiny(x: Real) -> float:
    """The ``x`` below which ``x (1 + O(x^2))`` is ``x``."""
    return 2.0**-13 if x.single else 2.0**-27


@lowered(np.sinh)
def sinh(x: Real) -> Real:
    """``(E + E / (E + 1)) / 2`` with ``E = e^|x| - 1``."""
    a = abs(x)
    half = expm1_quarter(a) * 2.0
    result = half + half / fma(half, 2.0, 1.0)
    return select(a < _tiny(x), x, result.copysign(x))


@lowered(np.cosh)
def cosh(x: Real) -> Real:
    """``h + 1 / (4 h)`` with ``h = e^|x| / 2``."""
    a = abs(x)
    p, k = exp_parts(select(a > 711.0, 711.0, a) if not x.single else select(a > 90.0, 90.0, a))
    half = scale(p, k - 1.0)
    return half + 0.25 / half


@lowered(np.tanh)
def tanh(x: Real) -> Real:
    """``E / (E + 2)`` with ``E = e^(2|x|) - 1``; 1 to the last place from 9.1 (20) on."""
    a = abs(x)
    limit = 9.1 if x.single else 20.0
    quarter = expm1_quarter(select(a > limit, limit, a) * 2.0)
    return select(a < _tiny(x), x, (quarter / (quarter + 0.5)).copysign(x))


@lowered(np.arcsinh)
def asinh(x: Real) -> Real:
    """``log1p(a + a^2 / (1 + sqrt(a^2 + 1)))`` with ``a = |x|``; ``log a + log 2`` if huge."""
    a = abs(x)
    huge = a > (2.0**30 if x.single else 2.0**60)
    square = a * a
    root = fma(a, a, 1.0).intrinsic("sqrt")
    result = log1p_value(select(huge, a, a + square / (root + 1.0)))
    result = result + select(huge, LN2_WHOLE, x.lift(0.0))
    return select((a < _tiny(x)) | a.equals(INFINITY) | x.isnan(), x, result.copysign(x))


@lowered(np.arccosh)
def acosh(x: Real) -> Real:
    """``log1p(t + sqrt(t (t + 2)))`` with ``t = x - 1``; ``log x + log 2`` if huge."""
    huge = x > (2.0**30 if x.single else 2.0**60)
    t = x - 1.0
    result = log1p_value(select(huge, x, t + fma(t, t, t * 2.0).intrinsic("sqrt")))
    result = result + select(huge, LN2_WHOLE, x.lift(0.0))
    return select(x.equals(INFINITY), INFINITY, select(x >= 1.0, result, NAN))


@lowered(np.arctanh)
def atanh(x: Real) -> Real:
    """``log1p(2a / (1 - a)) / 2`` with ``a = |x|``."""
    a = abs(x)
    result = log1p_value((a + a) / (1.0 - a)) * 0.5
    result = select(a.equals(1.0), INFINITY, select(a <= 1.0, result, NAN))
    return select(a < _tiny(x), x, result.copysign(x))
