"""The error function and gelu, from the scaled complement ``erfcx(a) = e^(a^2) erfc(a)``.

``(a + c) erfcx(a)`` is a polynomial in ``(a - c) / (a + c)`` over the whole half line, minimax by
Remez' algorithm (the variable is that of Shepherd and Laframboise, *Chebyshev approximation of
(1 + 2x) exp(x^2) erfc x*, 1981). ``e^(-a^2)`` takes ``a^2`` in two parts. With AVX-512 both it and
``erf`` are piecewise polynomials, in float64 the former in ``a / (a + c)``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.emit.vmath import tables
from graphc.emit.vmath.activation import rectified
from graphc.emit.vmath.avx512 import piecewise, quotient, uniform
from graphc.emit.vmath.exponential import scale, times_exp
from graphc.emit.vmath.lower import lowered
from graphc.emit.vmath.trace import Real, fma, muladd, polynomial, select

_ERFCX = {  # the centre c, and (a + c) erfcx(a) in powers of (a - c) / (a + c)
    32: (2.0, 1.0215827226638794, -0.6871609687805176, 0.27947136759757996, -0.036435626447200775,
         -0.021501101553440094, 0.006434654351323843, 0.003036682726815343,
         -0.0007279460551217198, -0.0005218563601374626, -4.223614087095484e-05),
    64: (4.0, 1.095995661000491, -0.9765487290808825, 0.7732087022652407, -0.5408538313131818,
         0.3308515878777974, -0.17401093724166938, 0.07638151491405469, -0.026370053313924495,
         0.006112055604361618, -0.0002809590912817741, -0.00045505237728141114,
         0.00017681400549739523, -3.6362293404421145e-06, -1.886487779454888e-05,
         4.6964645179597635e-06, 1.432807018801414e-06, -8.480233410217802e-07,
         -8.706230540791947e-08, 1.2385989289808244e-07, 9.574409081571231e-09,
         -1.364209786902815e-08, -2.691589682228089e-09),
}  # fmt: skip
_NORMAL = {  # the same for erfcx(a / sqrt 2) / 2
    32: (4.0, 0.7552851438522339, -0.6078965663909912, 0.38713687658309937, -0.18652360141277313,
         0.06040364131331444, -0.007524782791733742, -0.0035115727223455906, 0.001569327781908214,
         0.00017740738985594362, -0.00013288664922583848),
    64: (4.0, 0.7552851304157515, -0.6078966419718921, 0.38713740074221925, -0.18652185795966492,
         0.060396574890664266, -0.007540188966449075, -0.003479692361560228,
         0.0016308184534843083, 0.00013334424807217384, -0.00023109490539516292,
         -1.907841562139102e-06, 3.5144578073578685e-05, 7.149681758632436e-07,
         -5.9200378967830204e-06, -6.252164152074972e-07, 1.0219109156461275e-06,
         2.6414772347585754e-07, -1.566588772488884e-07, -7.721867585425641e-08,
         1.611587501454996e-08, 1.4633898361548982e-08, -3.53024937696704e-10,
         -1.2031431500086004e-09),
}  # fmt: skip
_ERF = {  # erf(x) / x - 1 in powers of x^2, |x| <= 1
    32: (0.12837916612625122, -0.3761262595653534, 0.1128358468413353, -0.026853807270526886,
         0.005188317969441414, -0.0008010101737454534, 7.853532588342205e-05),
    64: (0.1283791670955126, -0.3761263890318375, 0.11283791670954857, -0.026866170645072837,
         0.005223977624780276, -0.0008548326978706958, 0.00012055331035571476,
         -1.4925593474050582e-05, 1.6460972276913203e-06, -1.6350019369212263e-07,
         1.4657839690097748e-08, -1.13655079841591e-09, 5.944990158735399e-11),
}  # fmt: skip
_ROOT_HALF = 0.7071067811865476


def _tail(a: Real, table: dict[int, tuple[float, ...]]) -> Real:
    """The function of ``a >= 0`` that ``table`` is of."""
    centre, *coefficients = table[a.width]
    inverse = quotient(a.lift(1.0), a + centre)
    q = (a - centre) * inverse
    # one step of Newton's method with an exact residual: near a = 0 the error of q is felt
    q = muladd(fma(-q, a, muladd(q + 1.0, -centre, a)), inverse, q)
    return polynomial(q, coefficients) * inverse


def _erfc_parts(a: Real) -> tuple[Real, Real]:
    """Return ``p, k`` with ``erfc(a) = p 2^k``, for ``a >= 0`` (held at about 28)."""
    limit = 10.5 if a.single else 28.0
    a = select(a > limit, limit, a)
    square = a * a
    if a.wide and not a.single:
        tail = quotient(uniform(quotient(a, a + 3.0), 1 / 16, tables.erfcx_wide()), a + 3.0)
    else:
        tail = _tail(a, _ERFCX)
    return times_exp(tail, -square, -fma(a, a, -square))


def _vectorized(scalar: Any) -> Any:
    """A function of ``math`` on a NumPy scalar, in its type."""
    return lambda x: np.asarray(x).dtype.type(scalar(float(x)))


@lowered(_vectorized(math.erf), wide=(32, 64))
def erf(x: Real) -> Real:
    """``2 / sqrt(pi)`` times the integral of ``e^(-t^2)`` from 0 to ``x``."""
    a = abs(x)
    if x.wide and x.single:
        z = a * a
        small = fma(a, polynomial(z, _ERF[32][:4]), a)
        large = piecewise(select(a > 4.0, 4.0, a), 0.5, tables.erf())
        return select(a < 0.125, small, large).copysign(x)
    if x.wide:
        a = select(a > 6.0, 6.0, a)
        return uniform(a, tables.ERF_STEP, tables.erf_wide()).copysign(x)
    z = a * a
    small = muladd(a, polynomial(z, _ERF[x.width]), a)
    return select(a < 1.0, small, 1.0 - scale(*_erfc_parts(a))).copysign(x)


@lowered(_vectorized(math.erfc), wide=(32, 64))
def erfc(x: Real) -> Real:
    """``1 - erf(x)``, without cancellation for large ``x``."""
    tail = scale(*_erfc_parts(abs(x)))
    result = select(x < 0.0, 2.0 - tail, tail)
    return select(x.isnan(), x, result)  # else the sign of NaN depends on the form of an fma


def _times_tail(a: Real) -> Real:
    """``a e^(a^2/2)`` times the normal distribution at ``-a``, for ``a >= 0``."""
    if not a.wide:
        return a * _tail(a, _NORMAL)
    if a.single:
        return a * piecewise(a, 1.0, tables.normal())
    w = quotient(a, a + 4.0)
    return w * uniform(w, 1 / 16, tables.normal_wide())


@lowered(_vectorized(lambda x: max(x, -1e3) * 0.5 * math.erfc(-x * _ROOT_HALF)), wide=(32, 64))
def gelu(x: Real) -> Real:
    """``x Phi(x) = max(x, 0) - |x| Phi(-|x|)``, ``Phi`` the normal distribution function.

    Hendrycks and Gimpel, arXiv:1606.08415. 0 at minus infinity.
    """
    a = abs(x)
    limit = 14.6 if x.single else 39.0
    a = select(a > limit, limit, a)
    half = a * 0.5
    square = a * half
    p, k = times_exp(_times_tail(a), -square, -fma(a, half, -square))
    return rectified(x) - scale(p, k)
