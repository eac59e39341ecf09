"""Exponentials: ``x = k ln 2 + r`` with ``|r| <= ln(2)/2``, a polynomial in ``r``, times ``2^k``.

The reduction subtracts ``k ln 2`` in two parts, of which the first has so few digits that its
product with ``k`` is exact (Cody and Waite, *Software Manual for the Elementary Functions*, 1980).
The polynomials are minimax, fitted by Remez' algorithm to the relative error of the result. ``2^k``
is made from the bits of ``k`` plus 1.5 times a power of two, whose low bits hold the integer: no
conversion instruction, which AVX2 lacks for 64 bits.
"""

from __future__ import annotations

import math

import numpy as np

from graphc.emit.vmath import tables
from graphc.emit.vmath.avx512 import lookup, scaled
from graphc.emit.vmath.lower import lowered
from graphc.emit.vmath.trace import (
    Int,
    Real,
    clamp,
    estrin,
    fma,
    fused,
    muladd,
    polynomial,
    select,
)
from graphc.jit.llvm import binding, ir
from graphc.jit.processor import features

LOG2E = 1.4426950408889634

_EXP = {  # (exp(r) - 1 - r) / r^2
    32: (0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.008368744514882565,
         0.0013814542908221483),
    64: (0.5000000000000011, 0.1666666666666641, 0.0416666666665297, 0.00833333333349497,
         0.0013888888943764284, 0.00019841269505724518, 2.480149294731919e-05,
         2.7557586892662973e-06, 2.7630306502794283e-07, 2.4999979686382338e-08),
}  # fmt: skip
_EXP_WIDE = {  # the same for |r| <= ln(2)/32
    32: (0.5000165104866028, 0.16667065024375916),
    64: (0.5000000000000006, 0.166666666643267, 0.04166666665943122, 0.00833347470469877,
         0.0013889133021561075),
}  # fmt: skip
_EXPM1_WIDE = {  # and for the relative error of exp(r) - 1
    32: (0.5, 0.16666996479034424, 0.04166760668158531),
    64: (0.5000000000000003, 0.16666666666666677, 0.04166666666169754, 0.008333333332381801,
         0.001388909659107099, 0.00019841559464653914),
}  # fmt: skip
_EXPM1 = {  # the same, fitted to the relative error of exp(r) - 1
    32: (0.5, 0.1666666716337204, 0.04166632518172264, 0.008333219215273857,
         0.0013943256344646215, 0.0001996244682231918),
    64: (0.5000000000000001, 0.1666666666666667, 0.041666666666652245, 0.00833333333332613,
         0.0013888888895612977, 0.00019841269874844362, 2.4801574517841018e-05,
         2.7557255360801073e-06, 2.7567935643440856e-07, 2.5105236296834267e-08,
         1.768772227583285e-09),
}  # fmt: skip
_EXP2 = {  # (2^r - 1) / r, |r| <= 1/2
    32: (0.6931472420692444, 0.24022652208805084, 0.055503103882074356, 0.009617692790925503,
         0.0013406669022515416, 0.00015594637079630047),
    64: (0.6931471805599453, 0.24022650695910072, 0.055504108664821736, 0.009618129107628562,
         0.001333355814638165, 0.0001540353039317092, 1.5252733864930305e-05,
         1.3215487004151563e-06, 1.0178047495848184e-07, 7.054814573988201e-09,
         4.4572446143187203e-10, 2.5855569366908814e-11),
}  # fmt: skip

EXP2_WIDE = {
    width: tuple(c * math.log(2) ** i for i, c in enumerate((1.0, *rest), 1))
    for width, rest in _EXP_WIDE.items()
}

_LN2 = {  # ln 2 and what its rounding leaves; fused, their products with k need no short parts
    32: (0.6931471824645996, -1.904654323148236e-09),
    64: (0.6931471805599453, 2.3190468138462996e-17),
}
LN2_SHORT = {  # ln 2 in so few digits that its product with k is exact, and the rest
    32: (0.693145751953125, 1.428606765330187e-06),
    64: (0.6931471805601177, -1.7239444525614835e-13),
}
_EXP_LOW = {32: -104.0, 64: -746.0}
_EXP_HIGH = {32: 89.0, 64: 710.0}


HAS_SCALE = binding.llvm_version_info >= (22,) and "avx512vl" in features()
"""Whether LLVM makes one instruction of ``x 2^k`` here, and vectorises it."""


def shifter(x: Real) -> float:
    """1.5 times the power of two whose unit in the last place is 1."""
    return 1.5 * 2.0 ** (23 if x.single else 52)


def nearest(x: Real) -> Real:
    """``x`` rounded to an integer, for ``|x|`` below 2^22 (float32) or 2^51.

    Processors without fused multiply-adds may have no instruction for it either.
    """
    return x.intrinsic("rint") if fused() else x + shifter(x) - shifter(x)


def ldexp(x: Real, k: Real) -> Real:
    """``x 2^k`` by LLVM's intrinsic, for an integer ``k`` below 2^31."""
    builder, kind, integer = x.builder, x.ir.type, ir.IntType(32)
    name = f"llvm.ldexp.f{x.width}.i32"
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(kind, [kind, integer]), name
    )
    return Real(builder, builder.call(function, [x.ir, builder.fptosi(k.ir, integer)]))


def power_of_two(k: Real) -> Real:
    """``2^k`` for an integer ``k`` whose result is a normal number."""
    bias, digits = (127, 23) if k.single else (1023, 52)
    return ((k + (shifter(k) + bias)).bits() << digits).real()


def scale(x: Real, k: Real) -> Real:
    """``x 2^k``, rounded once where the result is subnormal, for ``x`` of about 1."""
    if x.wide:
        return scaled(x, k)
    if HAS_SCALE:
        return ldexp(x, k)
    half = nearest(k * 0.5)
    return x * power_of_two(half) * power_of_two(k - half)


def _sixteenths(x: Real, factor: float) -> tuple[Int, Real]:
    """Return ``16 k`` modulo 16 and ``k``: ``factor x`` to the nearest sixteenth."""
    large = shifter(x) / 16
    shifted = fma(x, factor, large)
    return shifted.bits(), shifted - large


def _power_parts(index: Int, q: Real) -> Real:
    """``2^(j/16) (1 + q)`` for ``j = index mod 16``."""
    high, low = (lookup(part, index) for part in tables.powers_of_two(q.width))
    return high + fma(high, q, low)


def _exp_rest(r: Real, coefficients: tuple[float, ...]) -> Real:
    """``e^r - 1`` for ``|r| <= ln(2)/32``."""
    return fma(r * r, polynomial(r, coefficients), r)


def _reduce_wide(x: Real, x_low: Real | None = None) -> tuple[Int, Real, Real]:
    """Like :func:`reduce_exp`, with ``k`` a multiple of 1/16; its last bits come first."""
    index, k = _sixteenths(x, LOG2E)
    high, low = _LN2[x.width]
    r = fma(k, -high, x)
    return index, k, fma(k, -low, r) if x_low is None else r + fma(k, -low, x_low)


def reduce_exp(x: Real, x_low: Real | None = None) -> tuple[Real, Real]:
    """Return ``k, r`` with ``x + x_low = k ln 2 + r`` and ``k`` the nearest integer to ``x``."""
    k = nearest(x * LOG2E)
    high, low = LN2_SHORT[x.width]
    r = muladd(k, -high, x)
    return k, muladd(k, -low, r) if x_low is None else r + muladd(k, -low, x_low)


def _exp_near_zero(r: Real) -> Real:
    """``e^r`` for ``|r| <= ln(2)/2``; without an fma, what is added to 1 is rounded once more."""
    if fused():
        return polynomial(r, (1.0, 1.0, *_EXP[r.width]))
    return muladd(r * r, polynomial(r, _EXP[r.width]), r) + 1.0


def exp_parts(x: Real, low: Real | None = None) -> tuple[Real, Real]:
    """Return ``p, k`` with ``e^(x + low) = p 2^k``, for ``x`` in the range of :func:`bounded`.

    Wide, ``k`` is a multiple of 1/16 of which the integer below is meant, as by :func:`scale`.
    """
    if x.wide:
        index, k, r = _reduce_wide(x, low)
        return _power_parts(index, _exp_rest(r, _EXP_WIDE[x.width])), k
    k, r = reduce_exp(x, low)
    return _exp_near_zero(r), k


def times_exp(factor: Real, x: Real, low: Real) -> tuple[Real, Real]:
    """Return ``p, k`` with ``factor e^(x + low) = p 2^k``, rounded less often than a product."""
    if x.wide:
        index, k, r = _reduce_wide(x, low)
        high, rest = (lookup(part, index) for part in tables.powers_of_two(x.width))
        product = factor * high
        rest = fma(factor, rest, fma(factor, high, -product))
        return product + fma(product, _exp_rest(r, _EXP_WIDE[x.width]), rest), k
    k, r = reduce_exp(x, low)
    return muladd(factor, polynomial(r, (1.0, *_EXP[x.width])) * r, factor), k


def bounded(x: Real) -> Real:
    """``x`` held where ``e^x`` is neither 0 nor infinity, or just beyond."""
    return clamp(x, _EXP_LOW[x.width], _EXP_HIGH[x.width])


def exp_value(x: Real) -> Real:
    """The formula of :func:`exp`, for other formulas."""
    return scale(*exp_parts(bounded(x)))


@lowered(np.exp, wide=(64,))
def exp(x: Real) -> Real:
    """``e^x``."""
    return exp_value(x)


@lowered(np.exp2, wide=(64,))
def exp2(x: Real) -> Real:
    """``2^x``; the reduction is exact."""
    return exp2_value(clamp(x, *((-151.0, 129.0) if x.single else (-1076.0, 1025.0))))


def exp2_value(x: Real, low: Real | None = None) -> Real:
    """``2^(x + low)`` for a small ``low`` and an ``x`` that does not overflow an integer."""
    if x.wide:
        index, k = _sixteenths(x, 1.0)
        r = x - k if low is None else x - k + low
        return scale(_power_parts(index, r * polynomial(r, EXP2_WIDE[x.width])), k)
    k = nearest(x)
    r = x - k if low is None else x - k + low
    slope, *rest = _EXP2[x.width]
    return scale(fma(muladd(estrin(r, rest), r, slope), r, 1.0), k)


def expm1_quarter(x: Real) -> Real:
    """``(e^x - 1) / 4``, which does not overflow where a hyperbolic function does not."""
    x = clamp(x, *((-20.0, 89.5) if x.single else (-40.0, 710.5)))
    if x.wide:
        index, k, r = _reduce_wide(x)
        parts = tables.powers_of_two(x.width)
        high, low = (scaled(lookup(part, index), k - 2.0) for part in parts)
        return high - 0.25 + fma(high, _exp_rest(r, _EXPM1_WIDE[x.width]), low)
    k, r = reduce_exp(x)
    p = muladd(r * r, polynomial(r, _EXPM1[x.width]), r)
    quarter = power_of_two(k - 2.0)
    return muladd(quarter, p, quarter - 0.25)


def expm1_moderate(x: Real) -> Real:
    """``e^x - 1``, wide, for ``x`` up to 40; a rounding less than in :func:`expm1_quarter`."""
    index, k, r = _reduce_wide(x)
    high, low = (scaled(lookup(part, index), k) for part in tables.powers_of_two(x.width))
    curve = fma(high * (r * r), polynomial(r, _EXPM1_WIDE[x.width]), low)
    return high - 1.0 + fma(high, r, curve)


@lowered(np.expm1, wide=(32, 64))
def expm1(x: Real) -> Real:
    """``e^x - 1 = 2^k (e^r - 1) + (2^k - 1)``; ``x`` itself where that is as good."""
    tiny = abs(x) < (2.0**-25 if x.single else 2.0**-54)
    return select(tiny, x, expm1_quarter(x) * 4.0)
