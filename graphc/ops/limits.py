"""Formulas that hold where their parts do not: ``x log(y)`` and ``sin(pi x) / (pi x)`` at 0."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.ir.op import Array, Elementwise, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Literal, Value, select, vmath
from graphc.ops.arithmetic import abs, square
from graphc.ops.comparison import equal, logical_and, logical_or, where
from graphc.ops.elementwise import Partials, unary
from graphc.ops.exponential import log
from graphc.ops.operands import common
from graphc.ops.rounding import isinf, round
from graphc.ops.special import SECTION, polynomial
from graphc.ops.trigonometric import sin
from graphc.types import BOOL


@register
class Xlogy(Elementwise):
    """``x log(y)``, 0 where ``x`` is; derivatives ``log(y)`` and ``x / y``, 0 if both are 0."""

    cost = 14.0

    def numpy(self, *arrays: Array) -> Array:
        x, y = arrays
        nothing = (x == 0) & ((y <= 0) | np.isinf(y))
        return np.asarray(x * np.log(np.where(nothing, 1, y)))

    def scalar(self, lit: Literal, *args: Value) -> Value:
        x, y = args
        nothing = x.equals(0) & ((y <= 0) | vmath("isinf", y, dtype=BOOL))
        return x * vmath("log", select(nothing, lit(1), y))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        x, y = inputs
        nothing = logical_and(equal(x, 0), logical_or(y <= 0, isinf(y)))
        inside = where(nothing, 1, y)
        return log(inside), where(nothing, 0, x / inside)


def _products() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.5, 3.0, (2, 3, 4))
    yield Sample((x, y))
    yield Sample((x - 2.0, y[0]))
    yield Sample((2.0, y))
    yield Sample((np.zeros(3), np.array([0.5, 1.0, 2.0])))
    edges = np.array([0.0, 1.0, -1.0, np.inf, np.nan])
    yield Sample((edges, edges[:, None]), (), False)
    yield Sample((np.array([0, 1, 2]), np.array([0, 1, 3])))


def _numpy_xlogy(x: Any, y: Any) -> Array:
    x, y = x * np.float32(1), y * np.float32(1)
    nothing = (x == 0) & ~np.isnan(y)
    return np.asarray(np.where(nothing, 0, x * np.log(np.where(nothing, 1, y))))


@function(samples=_products, reference=_numpy_xlogy, section=SECTION)
def xlogy(x: Any, y: Any) -> Tensor:
    """Return ``x log(y)``, which is 0 where ``x`` is, unless ``y`` is NaN."""
    return apply(Xlogy(), *common("xlogy", x, y, floating=True))


_SINC = tuple((-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(12))
_CLOSE = 0.25
"""Below which Taylor's series of ``sin(pi x) / (pi x)`` gives derivatives that do not cancel."""


@function(samples=unary(-3.0, 3.0, 0.0, 1e-10, 1.0, booleans=False),
          reference=lambda x: np.sinc(x * np.float32(1)), section=SECTION)  # fmt: skip
def sinc(x: Any) -> Tensor:
    """Return ``sin(pi x) / (pi x)``, 1 at 0, as ``numpy.sinc``."""
    (t,) = common("sinc", x, floating=True)
    close = abs(t) < _CLOSE
    series = polynomial(square(where(close, t, 0)), _SINC)
    far = where(close, 1, t)
    turned = (far - 2 * round(far * 0.5)) * math.pi  # exactly by whole turns
    return where(close, series, sin(turned) / (far * math.pi))
