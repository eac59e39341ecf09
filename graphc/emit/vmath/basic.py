"""Comparisons, rounding, signs and bits: what takes an instruction or two."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.emit.vmath.lower import lowered
from graphc.emit.vmath.trace import Bool, Int, Real, select

INFINITY = float("inf")


def _extreme(name: str, x: Any, y: Any) -> Any:
    if isinstance(x, Real):
        return x.intrinsic(f"{name}imum", y)
    if isinstance(x, Bool):
        return x | y if name == "max" else x & y
    return Int(x.builder, x.call(f"s{name}", x, y))


@lowered(np.maximum)
def maximum(x: Any, y: Any) -> Any:
    """The larger; NaN if either is."""
    return _extreme("max", x, y)


@lowered(np.minimum)
def minimum(x: Any, y: Any) -> Any:
    """The smaller; NaN if either is."""
    return _extreme("min", x, y)


@lowered(lambda x: np.abs(x))
def abs(x: Any) -> Any:
    """``|x|``; the least integer is its own."""
    if isinstance(x, Real):
        return x.intrinsic("fabs")
    return x if isinstance(x, Bool) else select(x < 0, x * -1, x)


@lowered(np.sign)
def sign(x: Any) -> Any:
    """-1, 0 or 1; NaN at NaN."""
    if isinstance(x, Int):
        return select(x < 0, -1, select(x > 0, 1, x))
    return select(x < 0.0, -1.0, select(x > 0.0, 1.0, x + 0.0))


def _rounding(name: str, plain: Any, doc: str) -> Any:
    def formula(x: Any) -> Any:
        return x.intrinsic(name) if isinstance(x, Real) else x

    formula.__doc__ = doc
    return lowered(plain)(formula)


floor = _rounding("floor", np.floor, "The largest integer not above ``x``.")
ceil = _rounding("ceil", np.ceil, "The smallest integer not below ``x``.")
trunc = _rounding("trunc", np.trunc, "The integer part.")
round = _rounding("rint", np.rint, "The nearest integer, the even one of two.")


@lowered(np.copysign)
def copysign(x: Real, y: Real) -> Real:
    """``|x|`` with the sign of ``y``."""
    return x.copysign(y)


@lowered(np.signbit)
def signbit(x: Real) -> Bool:
    """Whether the sign bit is set."""
    return x.bits() < 0


@lowered(np.isfinite)
def isfinite(x: Real) -> Bool:
    """Whether ``x`` is neither infinite nor NaN."""
    return x.intrinsic("fabs") < INFINITY


@lowered(np.isinf)
def isinf(x: Real) -> Bool:
    """Whether ``x`` is infinite."""
    return x.intrinsic("fabs").equals(INFINITY)


@lowered(np.isnan)
def isnan(x: Real) -> Bool:
    """Whether ``x`` is NaN."""
    return x.isnan()


@lowered(np.nextafter)
def nextafter(x: Real, y: Real) -> Real:
    """The number after ``x`` in the direction of ``y``."""
    bits = x.bits()
    away = (y > x) ^ (bits < 0)
    step = select(away, bits + 1, bits - 1).real()
    least = x.lift(2.0**-149 if x.single else 2.0**-1074).copysign(y)
    result = select(x.equals(0.0), least, step)
    result = select(x.equals(y), y, result)
    return select(x.isnan() | y.isnan(), float("nan"), result)


@lowered(lambda c, x, y: x if c else y)
def where(condition: Bool, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, else ``y``."""
    return select(condition, x, y)


def _fmod(x: Real, y: Real) -> Real:
    """The exact remainder of truncating division (a call: this does not vectorise)."""
    return Real(x.builder, x.builder.frem(x.ir, y.ir, flags=("contract",)))


def _divide(x: Int, y: Int) -> tuple[Int, Int]:
    """Quotient and remainder rounded towards minus infinity; 0 and 0 for ``y = 0``."""
    trivial = y.equals(0) | y.equals(-1)  # -1: the least integer has no negative
    divisor = select(trivial, 1, y)
    quotient = Int(x.builder, x.builder.sdiv(x.ir, divisor.ir))
    rest = x - quotient * divisor
    adjust = ~rest.equals(0) & ((rest < 0) ^ (divisor < 0))
    quotient = select(adjust, quotient - 1, quotient)
    rest = select(adjust, rest + divisor, rest)
    quotient = select(y.equals(0), 0, select(y.equals(-1), x * -1, quotient))
    return quotient, select(trivial, 0, rest)


def _float_remainder(x: Real, y: Real) -> Real:
    rest = _fmod(x, y)
    differs = (rest < 0.0) ^ (y < 0.0)
    adjusted = select(differs, rest + y, rest)
    return select(rest.equals(0.0), x.lift(0.0).copysign(y), adjusted)


@lowered(np.remainder)
def remainder(x: Any, y: Any) -> Any:
    """``x mod y`` with the sign of ``y``; for integers, 0 where ``y`` is 0."""
    return _float_remainder(x, y) if isinstance(x, Real) else _divide(x, y)[1]


@lowered(np.floor_divide)
def floor_divide(x: Any, y: Any) -> Any:
    """``floor(x / y)``; for integers, 0 where ``y`` is 0."""
    if isinstance(x, Int):
        return _divide(x, y)[0]
    rest = _fmod(x, y)
    quotient = (x - rest) / y
    differs = (rest < 0.0) ^ (y < 0.0)
    quotient = select(differs & ~rest.equals(0.0), quotient - 1.0, quotient)
    whole = quotient.intrinsic("floor")
    whole = select(quotient - whole > 0.5, whole + 1.0, whole)
    ratio = x / y
    whole = select(quotient.equals(0.0), x.lift(0.0).copysign(ratio), whole)
    return select(y.equals(0.0), ratio, whole)


@lowered(np.left_shift)
def left_shift(x: Int, y: Int) -> Int:
    """``x 2^y``; 0 where ``y`` is no place in ``x``."""
    outside = (y < 0) | (y > x.width - 1)
    shifted = Int(x.builder, x.builder.shl(x.ir, select(outside, 0, y).ir))
    return select(outside, 0, shifted)


@lowered(np.right_shift)
def right_shift(x: Int, y: Int) -> Int:
    """``floor(x / 2^y)``; 0 or -1 by the sign where ``y`` is no place in ``x``."""
    outside = (y < 0) | (y > x.width - 1)
    return Int(x.builder, x.builder.ashr(x.ir, select(outside, x.width - 1, y).ir))
