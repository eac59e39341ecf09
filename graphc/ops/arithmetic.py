"""Arithmetic of real numbers, element by element."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.op import CLOSED, PRODUCT, SUM, Notation, Sample, function, register
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.cast import cast
from graphc.ops.comparison import LogicalAnd, LogicalOr
from graphc.ops.elementwise import Math, Partials, Piecewise, binary, unary
from graphc.ops.operands import as_tensor, common
from graphc.ops.rounding import sign
from graphc.types import BOOL, INT64, TensorType

SECTION = "Arithmetic"


def numbers(what: str, *values: Any) -> tuple[Tensor, ...]:
    """Return ``values`` cast to one data type, booleans to int64."""
    return tuple(cast(t, INT64) if t.dtype == BOOL else t for t in common(what, *values))


@register
class Add(Piecewise, Math):
    """``x + y``."""

    ufunc = np.add
    formula = operator.add

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return Notation("{0} + {1}", "{0} + {1}", SUM, (SUM, SUM))

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor:
        return t


@register
class Subtract(Piecewise, Math):
    """``x - y``."""

    ufunc = np.subtract
    formula = operator.sub

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return Notation("{0} - {1}", "{0} - {1}", SUM, (SUM, PRODUCT))

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor:
        return t if place == 0 else -t


@register
class Multiply(Math):
    """``x * y``."""

    ufunc = np.multiply
    formula = operator.mul

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        latex = r"{0} \odot {1}" if all(t.shape for t in types) else r"{0} \cdot {1}"
        return Notation("{0} * {1}", latex, PRODUCT, (PRODUCT, PRODUCT))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        x, y = inputs
        return y, x


@register
class Divide(Math):
    """``x / y``."""

    ufunc = np.divide
    formula = operator.truediv
    cost = 4.0

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        latex = r"\frac{{{0}}}{{{1}}}"
        return Notation("{0} / {1}", latex, PRODUCT, (PRODUCT, CLOSED), (0, 0))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        y = inputs[1]
        return 1.0 / y, -(out / y)  # no square of y, which would leave the range of numbers


@register
class FloorDivide(Math):
    """``floor(x / y)``; 0 for an integer divided by 0. Its derivative is 0."""

    ufunc = np.floor_divide
    cost = 8.0


@register
class Remainder(Math):
    """``x - floor(x / y) * y``, of the sign of ``y``; 0 for an integer divided by 0."""

    ufunc = np.remainder
    cost = 8.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        x, y = inputs
        return constant(1, out.dtype), -floor_divide(x, y)


@register
class Negative(Piecewise, Math):
    """``-x``."""

    ufunc = np.negative
    formula = operator.neg

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return Notation("-{0}", "-{0}", SUM, (PRODUCT,))

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor:
        return -t


@register
class Abs(Math):
    """``|x|``; its derivative, ``sign(x)``, is 0 at 0."""

    ufunc = np.abs

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return Notation("|{0}|", r"\left|{0}\right|", CLOSED, (0,))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (sign(inputs[0]),)


@register
class Square(Math):
    """``x * x``; derivative ``2 x``."""

    ufunc = np.square
    formula = staticmethod(lambda x: x * x)

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return Notation("{0}^2", "{0}^{{2}}", CLOSED, (CLOSED,))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (inputs[0] * 2,)


def _logical() -> Iterable[Sample]:
    yield from binary(-2.0, 2.0)()
    p = np.array([True, False])
    yield Sample((p, p[:, None]), differentiable=False)
    yield Sample((p, np.array([[2], [3]])), differentiable=False)


@function(samples=_logical, reference=np.add, section=SECTION)
def add(x: Any, y: Any) -> Tensor:
    """Return ``x + y``; for booleans, their disjunction."""
    a, b = common("add", x, y)
    return apply(LogicalOr() if a.dtype == BOOL else Add(), a, b)


@function(samples=binary(-2.0, 2.0), reference=np.subtract, section=SECTION)
def subtract(x: Any, y: Any) -> Tensor:
    """Return ``x - y``; booleans are an error, as in NumPy."""
    a, b = common("subtract", x, y)
    if a.dtype == BOOL:
        raise DTypeError(
            "boolean subtract, the `-` operator, is not supported; use logical_xor or the `^` "
            "operator instead"
        )
    return apply(Subtract(), a, b)


@function(samples=_logical, reference=np.multiply, section=SECTION)
def multiply(x: Any, y: Any) -> Tensor:
    """Return ``x * y``; for booleans, their conjunction."""
    a, b = common("multiply", x, y)
    return apply(LogicalAnd() if a.dtype == BOOL else Multiply(), a, b)


@function(samples=binary(0.5, 2.0), reference=np.divide, section=SECTION)
def divide(x: Any, y: Any) -> Tensor:
    """Return ``x / y``; of integers, in float32."""
    return apply(Divide(), *common("divide", x, y, floating=True))


def _quotients() -> Iterable[Sample]:
    yield from binary(0.3, 2.6, 0.7)()
    rng = np.random.default_rng(1)
    yield Sample((rng.uniform(-5.0, 5.0, (3, 4)), rng.uniform(-2.0, 2.0, (3, 4))))
    zero = np.array([0, 3, -3, 0])
    yield Sample((zero, np.array([[0], [2]])), differentiable=False)
    yield Sample((zero * 1.0, np.array([[0.0], [2.0], [-2.0]])), differentiable=False)


@function(samples=_quotients, reference=np.floor_divide, section=SECTION)
def floor_divide(x: Any, y: Any) -> Tensor:
    """Return ``floor(x / y)``; 0 for an integer divided by 0. Its derivative is 0."""
    return apply(FloorDivide(), *numbers("floor_divide", x, y))


@function(samples=_quotients, reference=np.remainder, section=SECTION)
def remainder(x: Any, y: Any) -> Tensor:
    """Return ``x - floor(x / y) * y``, of the sign of ``y``; 0 for an integer divided by 0."""
    return apply(Remainder(), *numbers("remainder", x, y))


@function(samples=unary(-2.0, 2.0, booleans=False), reference=np.negative, section=SECTION)
def negative(x: Any) -> Tensor:
    """Return ``-x``; booleans are an error, as in NumPy."""
    t = as_tensor(x)
    if t.dtype == BOOL:
        raise DTypeError(
            "boolean negative, the `-` operator, is not supported; use logical_not or the `~` "
            "operator instead"
        )
    return apply(Negative(), t)


@function(samples=unary(-2.0, 2.0), reference=lambda x: x, section=SECTION)
def positive(x: Any) -> Tensor:
    """Return ``x`` itself."""
    return as_tensor(x)


@function(samples=unary(-2.0, 2.0, 0.0, -0.0), reference=np.abs, section=SECTION)
def abs(x: Any) -> Tensor:
    """Return ``|x|``; its derivative at 0 is 0."""
    t = as_tensor(x)
    return t if t.dtype == BOOL else apply(Abs(), t)


@function(samples=unary(-2.0, 2.0), reference=lambda x: np.square(x * 1), section=SECTION)
def square(x: Any) -> Tensor:
    """Return ``x * x``."""
    return apply(Square(), *numbers("square", x))


@function(samples=unary(0.5, 2.0), reference=lambda x: 1.0 / x, section=SECTION)
def reciprocal(x: Any) -> Tensor:
    """Return ``1 / x``; of integers, in float32."""
    return divide(1.0, x)
