"""The error function and gelu, from the scaled complement ``erfcx(a) = e^(a^2) erfc(a)``.

``(1 + 2a) erfcx(a)`` is a polynomial in ``(a - c) / (a + c)`` over the whole half line (Shepherd
and Laframboise, *Chebyshev approximation of (1 + 2x) exp(x^2) erfc x*, 1981), here minimax by
Remez' algorithm. ``e^(-a^2)`` takes ``a^2`` in two parts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.runtime.vmath.activation import rectified
from graphc.runtime.vmath.exponential import exp_parts, scale
from graphc.runtime.vmath.lower import lowered
from graphc.runtime.vmath.trace import Real, fma, polynomial, select

_ERFCX_CENTRE = {32: 2.0, 64: 4.0}
_ERFCX = {  # (1 + 2a) erfcx(a) in powers of (a - centre) / (a + centre)
    32: (1.2769783735275269, -0.0927639976143837, -0.16603156924247742, 0.16405566036701202,
         -0.05420262739062309, -0.008060885593295097, 0.008625371381640434, 0.0013125715777277946,
         -0.0012223547091707587, -0.0003961132315453142),
    64: (1.2329951186255526, -0.13962111684056316, 0.015379652102605938, 0.06809705425476312,
         -0.10103906603555313, 0.09373283499622158, -0.0663303658283457, 0.037167515565558,
         -0.016197733878711807, 0.005031969788536233, -0.000757774453267859,
         -0.00019925602275858484, 0.00015062638875981078, -2.4400239273910805e-05,
         -1.1234160754335466e-05, 5.709009324019596e-06, 3.134618963992683e-07,
         -8.199849828707516e-07, 5.560267185390817e-08, 1.0152192637187994e-07,
         -8.217079027522106e-09, -8.440976122191065e-09),
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


def _erfcx(a: Real) -> tuple[Real, Real]:
    """Return ``(1 + 2a) e^(a^2) erfc(a)`` and ``1 + 2a``, for ``0 <= a <= 28``."""
    centre = _ERFCX_CENTRE[a.width]
    inverse = 1.0 / (a + centre)
    q = (a - centre) * inverse
    # one step of Newton's method with an exact residual: near a = 0 the error of q is felt
    q = fma(fma(-q, a, fma(q + 1.0, -centre, a)), inverse, q)
    return polynomial(q, _ERFCX[a.width]), fma(a, 2.0, 1.0)


def _erfc_parts(a: Real) -> tuple[Real, Real]:
    """Return ``p, k`` with ``erfc(a) = p 2^k``, for ``a >= 0`` (held at about 28)."""
    limit = 10.5 if a.single else 28.0
    a = select(a > limit, limit, a)
    square = a * a
    p, k = exp_parts(-square, -fma(a, a, -square))
    above, below = _erfcx(a)
    return p * above / below, k


def _vectorized(scalar: Any) -> Any:
    """A function of ``math`` on a NumPy scalar, in its type."""
    return lambda x: np.asarray(x).dtype.type(scalar(float(x)))


@lowered(_vectorized(math.erf))
def erf(x: Real) -> Real:
    """``2 / sqrt(pi)`` times the integral of ``e^(-t^2)`` from 0 to ``x``."""
    a = abs(x)
    z = a * a
    small = fma(a, polynomial(z, _ERF[x.width]), a)
    return select(a < 1.0, small, 1.0 - scale(*_erfc_parts(a))).copysign(x)


@lowered(_vectorized(math.erfc))
def erfc(x: Real) -> Real:
    """``1 - erf(x)``, without cancellation for large ``x``."""
    tail = scale(*_erfc_parts(abs(x)))
    return select(x < 0.0, 2.0 - tail, tail)


@lowered(_vectorized(lambda x: max(x, -1e3) * 0.5 * math.erfc(-x * _ROOT_HALF)))
def gelu(x: Real) -> Real:
    """``x Phi(x) = max(x, 0) - |x| Phi(-|x|)``, ``Phi`` the normal distribution function.

    Hendrycks and Gimpel, arXiv:1606.08415. 0 at minus infinity.
    """
    a = abs(x)
    limit = 14.6 if x.single else 39.0
    a = select(a > limit, limit, a)
    half = a * 0.5
    square = a * half
    p, k = exp_parts(-square, -fma(a, half, -square))
    above, below = _erfcx(a * _ROOT_HALF)
    return rectified(x) - scale(half * p * above / below, k)
