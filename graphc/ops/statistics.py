"""Mean, variance and standard deviation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.ir.op import (
    Array,
    Composite,
    Linear,
    Sample,
    function,
    reduced_shape,
    register,
)
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import divide, square, subtract
from graphc.ops.batched import grown
from graphc.ops.comparison import equal, maximum, where
from graphc.ops.creation import extent
from graphc.ops.exponential import sqrt
from graphc.ops.operands import common
from graphc.ops.reduce import along, spread, sum
from graphc.types import TensorType, normalize_axes, size_of

SECTION = "Reductions"


@register
@grown()
class Mean(Linear, Composite):
    """Sum of the elements along ``axes`` over their number; NaN if there are none."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return x.with_shape(reduced_shape(x.shape, self.axes, self.keepdims))

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        count = x.dtype.type(np.prod([x.shape[a] for a in self.axes]))
        return np.asarray(np.sum(x, axis=self.axes, keepdims=self.keepdims) / count)

    def expand(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return divide(sum(x, self.axes, keepdims=self.keepdims), _count(x, self.axes))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        (x,) = inputs
        return (spread(divide(g, _count(x, self.axes)), x, self.axes),)


def _count(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the number of elements that a reduction along ``axes`` folds, in the type of ``x``."""
    return extent(size_of(x.type.shape[a] for a in axes), x.dtype)


def _means() -> Iterable[Sample]:
    return along(neutral=False)


@function(samples=_means, reference=np.mean, section=SECTION)
def mean(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the mean of the elements of ``x`` along ``axis`` (default: all axes).

    Integers give float32; the mean of nothing is NaN.
    """
    (t,) = common("mean", x, floating=True)
    return apply(Mean(normalize_axes(axis, t.ndim), keepdims), t)


def _spreads() -> Iterable[Sample]:
    """Operands that the variance is tried on, and corrections."""
    x = np.random.default_rng(2).standard_normal((3, 4))
    yield from _means()
    for correction in (0, 1, 1.5, 3, 5):
        yield Sample((x,), (("axis", 0), ("correction", correction)), correction < 3)
    yield Sample((x + 1e6,), (("axis", 1),), differentiable=False)


def _numpy_var(
    x: Array, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False
) -> Any:
    return np.var(x, axis=axis, ddof=correction, keepdims=keepdims)


def _numpy_std(
    x: Array, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False
) -> Any:
    return np.std(x, axis=axis, ddof=correction, keepdims=keepdims)


@function(samples=_spreads, reference=_numpy_var, section=SECTION)
def var(x: Any, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the variance of the elements of ``x`` along ``axis`` (default: all axes).

    The squared deviations from the mean are summed in a second pass, which is stable, and
    divided by ``n - correction``: 0 for the population, 1 for a sample.
    """
    (t,) = common("var", x, floating=True)
    axes = normalize_axes(axis, t.ndim)
    deviations = square(subtract(t, apply(Mean(axes, True), t)))
    if correction == 0:
        return apply(Mean(axes, keepdims), deviations)
    freedom = maximum(subtract(_count(t, axes), constant(correction, t.dtype)), 0)
    return divide(sum(deviations, axes, keepdims=keepdims), freedom)


@function(samples=_spreads, reference=_numpy_std, section=SECTION)
def std(x: Any, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the standard deviation of ``x`` along ``axis``, the root of :func:`var`.

    Its derivative where all elements are equal is 0, as in PyTorch.
    """
    variance = var(x, axis, correction=correction, keepdims=keepdims)
    flat = equal(variance, 0)
    return where(flat, 0, sqrt(where(flat, 1, variance)))
