"""Trigonometric and hyperbolic functions; angles are in radians."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.ir.op import Array, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Literal, Value
from graphc.ops.arithmetic import square
from graphc.ops.comparison import where
from graphc.ops.elementwise import Math, Partials, binary, unary
from graphc.ops.exponential import rsqrt
from graphc.ops.operands import common

SECTION = "Trigonometry"


@register
class Sin(Math):
    """The sine; derivative ``cos(x)``."""

    ufunc = np.sin
    cost = 14.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (cos(inputs[0]),)


@register
class Cos(Math):
    """The cosine; derivative ``-sin(x)``."""

    ufunc = np.cos
    cost = 14.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (-sin(inputs[0]),)


@register
class Tan(Math):
    """The tangent; derivative ``1 + out^2``."""

    ufunc = np.tan
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (square(out) + 1.0,)


@register
class OneMinusSquare(Math):
    """``(1 - x) (1 + x)``, exact near -1 and 1; derivative ``-2 x``, exact near 0."""

    cost = 3.0

    @staticmethod
    def ufunc(x: Array) -> Array:
        return (1.0 - x) * (1.0 + x)

    def scalar(self, lit: Literal, *args: Value) -> Value:
        return (1 - args[0]) * (1 + args[0])

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (inputs[0] * -2,)


def _one_minus_square(x: Tensor) -> Tensor:
    return apply(OneMinusSquare(), x)


@register
class Asin(Math):
    """The inverse sine; derivative ``1 / sqrt(1 - x^2)``."""

    ufunc = np.arcsin
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (rsqrt(_one_minus_square(inputs[0])),)


@register
class Acos(Math):
    """The inverse cosine; derivative ``-1 / sqrt(1 - x^2)``."""

    ufunc = np.arccos
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (-rsqrt(_one_minus_square(inputs[0])),)


@register
class Atan(Math):
    """The inverse tangent; derivative ``1 / (1 + x^2)``."""

    ufunc = np.arctan
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 / (square(inputs[0]) + 1.0),)


@register
class Atan2(Math):
    """The angle of the point ``(y, x)``, by quadrant; derivatives ``(x, -y) / (x^2 + y^2)``.

    They are 0 at the origin, as those of :class:`Hypot`. Dividing by the distance twice keeps
    squares from leaving the range of numbers.
    """

    ufunc = np.arctan2
    cost = 24.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        y, x = inputs
        distance = _nonzero(hypot(x, y))
        return x / distance / distance, -(y / distance / distance)


def _nonzero(distance: Tensor) -> Tensor:
    """Return ``distance``, and 1 for 0."""
    return where(distance == 0, 1, distance)


@register
class Sinh(Math):
    """The hyperbolic sine; derivative ``cosh(x)``."""

    ufunc = np.sinh
    cost = 16.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (cosh(inputs[0]),)


@register
class Cosh(Math):
    """The hyperbolic cosine; derivative ``sinh(x)``."""

    ufunc = np.cosh
    cost = 16.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (sinh(inputs[0]),)


@register
class Tanh(Math):
    """The hyperbolic tangent; derivative ``1 - out^2``."""

    ufunc = np.tanh
    cost = 16.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 - square(out),)


@register
class Asinh(Math):
    """The inverse hyperbolic sine; derivative ``1 / sqrt(x^2 + 1)``."""

    ufunc = np.arcsinh
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 / hypot(inputs[0], 1.0),)


@register
class Acosh(Math):
    """The inverse hyperbolic cosine; derivative ``1 / sqrt(x^2 - 1)``."""

    ufunc = np.arccosh
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        (x,) = inputs
        return (rsqrt(x - 1.0) * rsqrt(x + 1.0),)


@register
class Atanh(Math):
    """The inverse hyperbolic tangent; derivative ``1 / (1 - x^2)``."""

    ufunc = np.arctanh
    cost = 20.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (1.0 / _one_minus_square(inputs[0]),)


@register
class Hypot(Math):
    """``sqrt(x^2 + y^2)`` without overflow; derivatives ``x / out`` and ``y / out``, 0 at 0."""

    ufunc = np.hypot
    cost = 10.0

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        x, y = inputs
        length = _nonzero(out)
        return x / length, y / length


@function(samples=unary(-4.0, 4.0, 1e4), reference=np.sin, section=SECTION)
def sin(x: Any) -> Tensor:
    """Return the sine of ``x``."""
    return apply(Sin(), *common("sin", x, floating=True))


@function(samples=unary(-4.0, 4.0, 1e4), reference=np.cos, section=SECTION)
def cos(x: Any) -> Tensor:
    """Return the cosine of ``x``."""
    return apply(Cos(), *common("cos", x, floating=True))


@function(samples=unary(-1.2, 1.2, 3.0), reference=np.tan, section=SECTION)
def tan(x: Any) -> Tensor:
    """Return the tangent of ``x``."""
    return apply(Tan(), *common("tan", x, floating=True))


@function(samples=unary(-0.9, 0.9, -1.0, 1.0, 2.0), reference=np.arcsin, section=SECTION)
def asin(x: Any) -> Tensor:
    """Return the inverse sine of ``x``, from -pi/2 to pi/2; NaN beyond -1 and 1."""
    return apply(Asin(), *common("asin", x, floating=True))


@function(samples=unary(-0.9, 0.9, -1.0, 1.0, 2.0), reference=np.arccos, section=SECTION)
def acos(x: Any) -> Tensor:
    """Return the inverse cosine of ``x``, from 0 to pi; NaN beyond -1 and 1."""
    return apply(Acos(), *common("acos", x, floating=True))


@function(samples=unary(-4.0, 4.0, 1e10), reference=np.arctan, section=SECTION)
def atan(x: Any) -> Tensor:
    """Return the inverse tangent of ``x``, from -pi/2 to pi/2."""
    return apply(Atan(), *common("atan", x, floating=True))


def _points() -> Iterable[Sample]:
    yield from binary(0.5, 2.0)()
    y, x = np.random.default_rng(1).uniform(-2.0, 2.0, (2, 3, 4))
    yield Sample((y, x))
    axes = np.array([0.0, 1.0, -1.0, np.inf, -np.inf])
    yield Sample((axes, axes[:, None]), differentiable=False)


@function(samples=_points, reference=np.arctan2, section=SECTION)
def atan2(y: Any, x: Any) -> Tensor:
    """Return the angle from the x axis to the point ``(x, y)``, from -pi to pi."""
    return apply(Atan2(), *common("atan2", y, x, floating=True))


@function(samples=unary(-3.0, 3.0, 1e-10, 1e4), reference=np.sinh, section=SECTION)
def sinh(x: Any) -> Tensor:
    """Return the hyperbolic sine of ``x``."""
    return apply(Sinh(), *common("sinh", x, floating=True))


@function(samples=unary(-3.0, 3.0, 1e4), reference=np.cosh, section=SECTION)
def cosh(x: Any) -> Tensor:
    """Return the hyperbolic cosine of ``x``."""
    return apply(Cosh(), *common("cosh", x, floating=True))


@function(samples=unary(-3.0, 3.0, 1e-10, 30.0, -30.0), reference=np.tanh, section=SECTION)
def tanh(x: Any) -> Tensor:
    """Return the hyperbolic tangent of ``x``."""
    return apply(Tanh(), *common("tanh", x, floating=True))


@function(samples=unary(-4.0, 4.0, 1e-10, 1e10, -1e10), reference=np.arcsinh, section=SECTION)
def asinh(x: Any) -> Tensor:
    """Return the inverse hyperbolic sine of ``x``."""
    return apply(Asinh(), *common("asinh", x, floating=True))


@function(samples=unary(1.2, 4.0, 1.0, 0.5, 1e10), reference=np.arccosh, section=SECTION)
def acosh(x: Any) -> Tensor:
    """Return the inverse hyperbolic cosine of ``x``; NaN below 1."""
    return apply(Acosh(), *common("acosh", x, floating=True))


@function(samples=unary(-0.9, 0.9, 1e-10, -1.0, 1.0, 2.0), reference=np.arctanh, section=SECTION)
def atanh(x: Any) -> Tensor:
    """Return the inverse hyperbolic tangent of ``x``; NaN beyond -1 and 1."""
    return apply(Atanh(), *common("atanh", x, floating=True))


@function(samples=_points, reference=np.hypot, section=SECTION)
def hypot(x: Any, y: Any) -> Tensor:
    """Return ``sqrt(x^2 + y^2)`` without overflow; its derivatives at the origin are 0."""
    return apply(Hypot(), *common("hypot", x, y, floating=True))
