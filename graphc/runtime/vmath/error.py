"""The error function and gelu, from the scaled complement ``erfcx(a) = e^(a^2) erfc(a)``.

``erfcx`` on ``[0, 28]`` is one rational function with positive coefficients, fitted to its
relative error by weighted linearised least squares. ``e^(-a^2)`` takes ``a^2`` in two parts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.runtime.vmath.activation import rectified
from graphc.runtime.vmath.exponential import exp_parts, scale
from graphc.runtime.vmath.lower import lowered
from graphc.runtime.vmath.trace import Real, fma, polynomial, select

_ERFCX_ABOVE = {
    32: (1.0, 1.239201545715332, 0.7324314713478088, 0.22961266338825226, 0.032878994941711426),
    64: (1.0, 2.3415129345430428, 2.7179714809473645, 2.0209440748270873, 1.056022130889955,
         0.40336890369160133, 0.11390889137899576, 0.023511966674045138, 0.0034079026022108385,
         0.00031543144594930214, 1.4333482094735385e-05),
}  # fmt: skip
_ERFCX_BELOW = {
    32: (1.0, 2.367581367492676, 2.403951406478882, 1.3269128799438477, 0.40700387954711914,
         0.058275818824768066),
    64: (1.0, 3.4698921016385555, 5.63332544050556, 5.659831819788153, 3.9193689781329555,
         1.9697111597755461, 0.7355101631329153, 0.20490572540179725, 0.04195341971760367,
         0.006053052808495069, 0.0005590876810705012, 2.540543553569311e-05),
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


def _erfcx(a: Real) -> Real:
    """``e^(a^2) erfc(a)`` for ``0 <= a <= 28``."""
    return polynomial(a, _ERFCX_ABOVE[a.width]) / polynomial(a, _ERFCX_BELOW[a.width])


def _erfc_parts(a: Real) -> tuple[Real, Real]:
    """Return ``p, k`` with ``erfc(a) = p 2^k``, for ``a >= 0`` (held at about 28)."""
    limit = 10.5 if a.single else 28.0
    a = select(a > limit, limit, a)
    square = a * a
    p, k = exp_parts(-square, -fma(a, a, -square))
    return p * _erfcx(a), k


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
    return rectified(x) - scale(half * p * _erfcx(a * _ROOT_HALF), k)
