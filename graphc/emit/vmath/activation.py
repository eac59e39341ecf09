"""Activations of neural networks.

All start from ``e^-|x| = p 2^k``, which cannot overflow, and multiply by ``2^k`` last, so that
a tail that is a subnormal number is still right to a unit in the last place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.emit.vmath.avx512 import inverse, quotient
from graphc.emit.vmath.exponential import exp_parts, exp_value, scale
from graphc.emit.vmath.logarithm import LN2_WHOLE, log1p_unit
from graphc.emit.vmath.lower import lowered
from graphc.emit.vmath.trace import Real, clamp, fma, muladd, select, two_sum


def held(a: Real) -> Real:
    """``a >= 0`` cut off where ``e^-a`` is 0, so that infinity times 0 is not met."""
    limit = 120.0 if a.single else 800.0
    return select(a > limit, limit, a)


def rectified(x: Real) -> Real:
    """``max(x, 0)``; NaN stays NaN."""
    return select(x <= 0.0, 0.0, x)


@lowered(lambda x: np.maximum(x, np.zeros_like(x)))
def relu(x: Any) -> Any:
    """``max(x, 0)``; NaN stays NaN and ``-0`` becomes 0."""
    return rectified(x) if isinstance(x, Real) else select(x < 0, 0, x)


def _sigmoid(x: Any) -> Any:
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


@lowered(_sigmoid, wide=(32, 64))
def sigmoid(x: Real) -> Real:
    """``s = 1 / (1 + e^-|x|)``; for ``x < 0``, ``e - e (e s)``, which damps the error of ``s``.

    Wide, ``e^x / (1 + e^x)``.
    """
    if x.wide:
        e = scale(*exp_parts(clamp(x, *((-104.0, 18.0) if x.single else (-746.0, 38.0)))))
        r = inverse(e + 1.0)
        s = e * r
        return fma(fma(-e, s, e - s), r, s)
    e = exp_value(-abs(x))
    s = 1.0 / (e + 1.0)
    return select(x < 0.0, muladd(-e, e * s, e), s)


@lowered(lambda x: np.maximum(x, -1000) * _sigmoid(x), wide=(32, 64))
def silu(x: Real) -> Real:
    """``x sigmoid(x) = max(x, 0) - |x| e^-|x| / (1 + e^-|x|)``; 0 at minus infinity.

    Wide, ``x e^x / (1 + e^x)``.
    """
    if x.wide:
        low, high = (-120.0, 40.0) if x.single else (-800.0, 80.0)
        y = select(x < low, low, x)
        p, k = exp_parts(select(y > high, high, y))
        return select(x > high, x, scale(quotient(y * p, scale(p, k) + 1.0), k))
    a = held(abs(x))
    p, k = exp_parts(-a)
    return rectified(x) - scale(quotient(a * p, scale(p, k) + 1.0), k)


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@lowered(_softplus)
def softplus(x: Real) -> Real:
    """``log(1 + e^x) = max(x, 0) + log1p(e^-|x|)``."""
    return rectified(x) + log1p_unit(exp_value(-abs(x)))


@lowered(lambda x: -_softplus(-x))
def log_sigmoid(x: Real) -> Real:
    """``log(sigmoid(x)) = min(x, 0) - log1p(e^-|x|)``."""
    return select(x > 0.0, 0.0, x) - log1p_unit(exp_value(-abs(x)))


@lowered(np.logaddexp)
def logaddexp(x: Real, y: Real) -> Real:
    """``log(e^x + e^y) = max(x, y) + log1p(e^-|x - y|)``."""
    rest = log1p_unit(exp_value(-abs(x - y)))
    return select(x.equals(y), x + LN2_WHOLE, select(x > y, x, y) + rest)


def _mish(x: Any) -> Any:
    return np.maximum(x, -1000) * np.tanh(_softplus(x))


@lowered(_mish, wide=(32, 64))
def mish(x: Real) -> Real:
    """``x tanh(softplus(x)) = x n / (n + 2)`` with ``n = e^x (e^x + 2)``; 0 at minus infinity."""
    x = select(x < -1000.0, -1000.0, x)
    low = -120.0 if x.single else -800.0
    p, k = exp_parts(clamp(x, low, 40.0))
    e = scale(p, k)
    m = e + 2.0
    return scale(x * quotient(muladd(p, e, p * 2.0), muladd(e, m, 2.0)), k)


_GELU_TANH = {  # 2 sqrt(2/pi) and 0.044715 times that, each with what its rounding leaves
    32: (1.5957691669464111, -4.534068054340423e-08, 0.07135481387376785, 2.3988324659995897e-09),
    64: (1.5957691216057308, -9.96930880911092e-17, 0.07135481627260025, -6.175149918155315e-19),
}


def _gelu_tanh(x: Any) -> Any:
    x = np.maximum(x, -1000)
    return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


@lowered(_gelu_tanh, wide=(32, 64))
def gelu_tanh(x: Real) -> Real:
    """``x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))``, the tanh form of gelu.

    The argument of the exponential is kept in two parts: its error is the result's relative
    error. Hendrycks and Gimpel, arXiv:1606.08415.
    """
    c, c_low, d, d_low = _GELU_TANH[x.width]
    a = abs(x)
    limit = 12.0 if x.single else 24.0  # beyond, the gate is 0 or 1
    a = select(a > limit, limit, a)
    square = a * a
    square_low = fma(a, a, -square)
    cubic = square * d
    slope, slope_low = two_sum(cubic, a.lift(c))
    slope_low += fma(square, d, -cubic) + muladd(square_low, d, muladd(square, d_low, c_low))
    u = a * slope
    u_low = fma(a, slope, -u) + a * slope_low
    p, k = exp_parts(-u, -u_low)
    return rectified(x) - scale(quotient(a * p, scale(p, k) + 1.0), k)
