"""Exponentials, logarithms, powers and roots."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.op import CLOSED, Array, Notation, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import numbers, reciprocal, square
from graphc.ops.comparison import logical_and, where
from graphc.ops.elementwise import Math, Partials, binary, unary
from graphc.ops.operands import common
from graphc.ops.rounding import isinf
from graphc.types import TensorType

SECTION = "Exponentials and powers"


# -- exponentials ---------------------------------------------------------------------------


@register
class Exp(Math):
    """``e ** x``, its own derivative."""

    ufunc = np.exp
    cost = 12.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (out,)


@register
class Exp2(Math):
    """``2 ** x``; derivative ``2 ** x * log(2)``."""

    ufunc = np.exp2
    cost = 12.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (out * math.log(2.0),)


@register
class Expm1(Math):
    """``e ** x - 1``, exact near 0; derivative ``out + 1``."""

    ufunc = np.expm1
    cost = 14.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (out + 1.0,)


@function(samples=unary(-3.0, 3.0, 1e4, -1e4), reference=np.exp, section=SECTION)
def exp(x: Any) -> Tensor:
    """Return ``e ** x``."""
    return apply(Exp(), *common("exp", x, floating=True))


@function(samples=unary(-3.0, 3.0, 1e4, -1e4), reference=np.exp2, section=SECTION)
def exp2(x: Any) -> Tensor:
    """Return ``2 ** x``."""
    return apply(Exp2(), *common("exp2", x, floating=True))


@function(samples=unary(-3.0, 3.0, 1e-10, 1e4, -1e4), reference=np.expm1, section=SECTION)
def expm1(x: Any) -> Tensor:
    """Return ``e ** x - 1``, exact near 0."""
    return apply(Expm1(), *common("expm1", x, floating=True))


# -- logarithms -----------------------------------------------------------------------------


@register
class Log(Math):
    """The natural logarithm; derivative ``1 / x``."""

    ufunc = np.log
    cost = 12.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 / inputs[0],)


@register
class Log1p(Math):
    """``log(1 + x)``, exact near 0; derivative ``1 / (1 + x)``."""

    ufunc = np.log1p
    cost = 14.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 / (inputs[0] + 1.0),)


@register
class Log2(Math):
    """The logarithm to base 2; derivative ``1 / (x log 2)``."""

    ufunc = np.log2
    cost = 12.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 / math.log(2.0) / inputs[0],)


@register
class Log10(Math):
    """The logarithm to base 10; derivative ``1 / (x log 10)``."""

    ufunc = np.log10
    cost = 12.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 / math.log(10.0) / inputs[0],)


@register
class Logaddexp(Math):
    """``log(exp(x) + exp(y))`` without overflow; derivative by ``x`` is ``sigmoid(x - y)``.

    Operands that are the same infinity share it in halves.
    """

    ufunc = np.logaddexp
    cost = 26.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        x, y = inputs
        lead = where(logical_and(x == y, isinf(x)), 0, x - y)
        return sigmoid(lead), sigmoid(-lead)


@register
class Sigmoid(Math):
    """The logistic function ``1 / (1 + exp(-x))``; derivative ``out (1 - out)``."""

    cost = 16.0

    @staticmethod
    def ufunc(x: Array) -> Array:
        return 1.0 / (1.0 + np.exp(-x))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (out * (1.0 - out),)


@function(samples=unary(0.3, 4.0, 0.0, -1.0), reference=np.log, section=SECTION)
def log(x: Any) -> Tensor:
    """Return the natural logarithm of ``x``: -inf at 0, NaN below."""
    return apply(Log(), *common("log", x, floating=True))


@function(samples=unary(-0.7, 4.0, 1e-10, -1.0, -2.0), reference=np.log1p, section=SECTION)
def log1p(x: Any) -> Tensor:
    """Return ``log(1 + x)``, exact near 0."""
    return apply(Log1p(), *common("log1p", x, floating=True))


@function(samples=unary(0.3, 4.0, 0.0, -1.0), reference=np.log2, section=SECTION)
def log2(x: Any) -> Tensor:
    """Return the logarithm of ``x`` to base 2."""
    return apply(Log2(), *common("log2", x, floating=True))


@function(samples=unary(0.3, 4.0, 0.0, -1.0), reference=np.log10, section=SECTION)
def log10(x: Any) -> Tensor:
    """Return the logarithm of ``x`` to base 10."""
    return apply(Log10(), *common("log10", x, floating=True))


def _log_sums() -> Iterable[Sample]:
    yield from binary(-3.0, 3.0)()
    far = np.array([0.0, 1e4, -1e4, -np.inf, np.inf])
    yield Sample((far, far[:, None]), differentiable=False)


@function(samples=_log_sums, reference=np.logaddexp, section=SECTION)
def logaddexp(x: Any, y: Any) -> Tensor:
    """Return ``log(exp(x) + exp(y))`` without overflow."""
    return apply(Logaddexp(), *common("logaddexp", x, y, floating=True))


@function(
    samples=unary(-5.0, 5.0, 1e4, -1e4),
    reference=lambda x: 1 / (1 + np.exp(-1.0 * x)),
    section=SECTION,
)
def sigmoid(x: Any) -> Tensor:
    """Return the logistic function ``1 / (1 + exp(-x))``."""
    return apply(Sigmoid(), *common("sigmoid", x, floating=True))


# -- powers and roots --------------------------------------------------------------------------


@register
class Sqrt(Math):
    """The square root; derivative ``1 / (2 out)``, infinite at 0."""

    ufunc = np.sqrt
    cost = 6.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (0.5 / out,)


@register
class Rsqrt(Math):
    """``1 / sqrt(x)``; derivative ``-out^3 / 2``."""

    cost = 6.0

    @staticmethod
    def ufunc(x: Array) -> Array:
        return 1.0 / np.sqrt(x)

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (square(out) * out * -0.5,)


def _power(x: Array, y: Array) -> Any:
    """Return ``x ** y``; of integers, a negative power is what C's division makes of ``1 / x``."""
    if x.dtype.kind == "f":
        return np.power(x, y)
    inverse = np.where(np.abs(x) == 1, np.where(y % 2 == 0, 1, x), 0)
    return np.where(y < 0, inverse, np.power(x, np.maximum(y, 0)))


@register
class Pow(Math):
    """``x ** y``; derivatives ``y x^(y-1)`` and ``x^y log(x)``, both 0 at ``0 ** 0``.

    By ``y`` the derivative is 0 at ``x = 0`` for ``y >= 0``: its limit. Operands that make a
    formula 0 * inf are replaced before it is evaluated, so that its own derivatives stay finite.
    """

    ufunc = _power
    cost = 30.0

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return Notation("{0}^{1}", "{0}^{{{1}}}", CLOSED, (CLOSED, CLOSED), (CLOSED, 0))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        x, y = inputs
        zero = x == 0
        steep = abs(x) <= 1.0 / float(np.finfo(x.dtype).max)  # its reciprocal is infinite
        by_x = y * pow(x, where(logical_and(steep, y == 0), y, y - 1))
        return by_x, out * log(where(logical_and(zero, y >= 0), 1, x))


def _powers() -> Iterable[Sample]:
    yield from binary(0.5, 2.0, integers=False)()
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (3, 4))
    for exponent in (2, 3, 0.5, -1, 1, 0, 4, -2, 1.5, -0.5, 2.0):
        base = np.abs(x) if exponent % 1 else x
        yield Sample((base, exponent))
    bases = np.array([0.0, 1.0, -1.0, -2.0, np.inf, np.nan])
    exponents = np.array([[0.0], [1.0], [2.0], [-1.0], [3.0], [np.nan]])
    yield Sample((bases, exponents), differentiable=False)
    i = np.array([0, 1, -1, 3, -2])
    for args in ((i, np.array([[0], [1], [2], [5]])), (i.astype(np.int32), 2), (i, 3), (2, abs(i)),
                 (i * 1.0, np.array([0, 1, 2, 3, -1])), (np.array([True, False]), 2)):  # fmt: skip
        yield Sample(args, differentiable=False)


@function(samples=_powers, reference=np.power, section=SECTION)
def pow(x: Any, y: Any) -> Tensor:
    """Return ``x ** y``.

    A Python number as exponent takes the short way as in NumPy's ``**``: 2 and 3 are products,
    0.5 a square root, -1 a reciprocal. A negative Python number as exponent of integers raises
    :class:`ArgumentError`, a ValueError, in NumPy's words.
    """
    a, b = numbers("pow", x, y)
    if not isinstance(y, (int, float)):
        return apply(Pow(), a, b)
    if a.dtype.kind == "i" and y < 0:
        raise ArgumentError("Integers to negative integer powers are not allowed.")
    if y == 1:
        return a
    if y == 2:
        return square(a)
    if y == 3:
        return square(a) * a
    if y == 0.5:
        return sqrt(a)
    if y == -1:
        return reciprocal(a)
    return apply(Pow(), a, b)


@function(samples=unary(0.3, 4.0, 0.0, -1.0), reference=np.sqrt, section=SECTION)
def sqrt(x: Any) -> Tensor:
    """Return the square root of ``x``; NaN below 0."""
    return apply(Sqrt(), *common("sqrt", x, floating=True))


@function(samples=unary(0.3, 4.0, 0.0, -1.0), reference=lambda x: 1 / np.sqrt(x), section=SECTION)
def rsqrt(x: Any) -> Tensor:
    """Return ``1 / sqrt(x)``; infinite at 0, NaN below."""
    return apply(Rsqrt(), *common("rsqrt", x, floating=True))


# -- the error function ---------------------------------------------------------------------------


@register
class Erf(Math):
    """``2 / sqrt(pi)`` times the integral of ``exp(-t^2)`` from 0 to ``x``."""

    ufunc = np.frompyfunc(math.erf, 1, 1)
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (exp(-square(inputs[0])) * (2.0 / math.sqrt(math.pi)),)


@function(
    samples=unary(-3.0, 3.0, 1e-10, 10.0, -10.0),
    reference=lambda x: np.vectorize(math.erf, otypes="d")(x).astype(np.result_type(x, np.float32)),
    section=SECTION,
)
def erf(x: Any) -> Tensor:
    """Return the Gauss error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t^2)``."""
    return apply(Erf(), *common("erf", x, floating=True))
