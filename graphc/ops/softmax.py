"""Softmax and its relatives, as single nodes that are stable and know their derivatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.ir.op import (
    Array,
    Composite,
    Sample,
    function,
    reduced_shape,
    register,
    require_float,
)
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import subtract
from graphc.ops.batched import grown
from graphc.ops.comparison import where
from graphc.ops.creation import filled
from graphc.ops.exponential import exp, log
from graphc.ops.operands import common
from graphc.ops.reduce import keep, max, sum
from graphc.ops.rounding import isfinite
from graphc.ops.shape import reshape
from graphc.types import FLOAT64, TensorType, normalize_axes

SECTION = "Softmax"


def _greatest(x: Array, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.max(x, axis=axes, keepdims=True, initial=-np.inf), x.dtype)


@register
@grown()
class Softmax(Composite):
    """``exp(x) / sum(exp(x))`` along ``axes``; NaN where all elements are -inf or one is inf."""

    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        require_float("softmax", *types)
        return types[0]

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        e = np.exp(x - _greatest(x, self.axes))
        return np.asarray(e / np.sum(e, axis=self.axes, keepdims=True))

    def expand(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        if x.size == 0:
            return x
        e = exp(subtract(x, max(x, self.axes, keepdims=True)))
        return e / sum(e, self.axes, keepdims=True)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (self._derivative(g, out),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        return None if t is None else self._derivative(t, out)

    def _derivative(self, t: Tensor, out: Tensor) -> Tensor:
        # diag(p) - p p^T is symmetric: one rule serves both modes.
        return out * (t - sum(t * out, self.axes, keepdims=True))


@register
@grown()
class LogSoftmax(Composite):
    """``x - log(sum(exp(x)))`` along ``axes``, computed without overflow."""

    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        require_float("log_softmax", *types)
        return types[0]

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        shifted = x - _greatest(x, self.axes)
        return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=self.axes, keepdims=True)))

    def expand(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        if x.size == 0:
            return x
        shifted = subtract(x, max(x, self.axes, keepdims=True))
        return subtract(shifted, log(sum(exp(shifted), self.axes, keepdims=True)))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (g - self._softmax(*inputs) * sum(g, self.axes, keepdims=True),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        if t is None:
            return None
        return t - sum(self._softmax(*inputs) * t, self.axes, keepdims=True)

    def _softmax(self, x: Tensor) -> Tensor:
        """Return ``exp(out)`` as what shares its exponentials with :meth:`expand`."""
        return apply(Softmax(self.axes), x)


@register
@grown()
class Logsumexp(Composite):
    """``log(sum(exp(x)))`` along ``axes``, computed without overflow; -inf for no elements."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        require_float("logsumexp", *types)
        (x,) = types
        return x.with_shape(reduced_shape(x.shape, self.axes, self.keepdims))

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        top = _greatest(x, self.axes)
        top = np.where(np.isfinite(top), top, x.dtype.type(0))
        total = np.log(np.sum(np.exp(x - top), axis=self.axes, keepdims=True)) + top
        return np.reshape(total, reduced_shape(x.shape, self.axes, self.keepdims))

    def expand(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        shape = reduced_shape(x.type.shape, self.axes, self.keepdims)
        if x.size == 0:
            return filled(shape, -np.inf, x.dtype)
        top = max(x, self.axes, keepdims=True)
        top = where(isfinite(top), top, 0)  # a line of -inf, or with inf, must not give inf - inf
        total = log(sum(exp(subtract(x, top)), self.axes, keepdims=True)) + top
        return reshape(total, shape)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        (x,) = inputs
        return (keep(g, x, self.axes) * self._weights(x),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (x,), (t,) = inputs, tangents
        if t is None:
            return None
        return sum(self._weights(x) * t, self.axes, keepdims=self.keepdims)

    def _weights(self, x: Tensor) -> Tensor:
        """Return the softmax of ``x``: not of ``out``, in which large numbers swallow small."""
        return apply(Softmax(self.axes), x)


def _rows() -> Iterable[Sample]:
    """Operands that softmax is tried on."""
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    yield Sample((x,))
    for axis in (0, 1, -1, (0, 2), None):
        yield Sample((x,), (("axis", axis),))
    yield Sample((x[:, :, :1],))
    yield Sample((x[:0],), differentiable=False)
    yield Sample((x[:, :, :0],), differentiable=False)
    yield Sample((x + 1e4,), differentiable=False)
    hard = np.array([[-np.inf, 0.0, 1.0], [-np.inf] * 3, [np.inf, 0.0, 1.0], [np.nan, 0.0, 1.0]])
    yield Sample((hard,), (("axis", 1),), differentiable=False)


def _float(x: Array) -> Array:
    return np.asarray(x, x.dtype if x.dtype.kind == "f" else FLOAT64)


def _numpy_softmax(x: Array, axis: Any = -1) -> Array:
    return Softmax(normalize_axes(axis, x.ndim)).numpy(_float(x))


def _numpy_log_softmax(x: Array, axis: Any = -1) -> Array:
    return LogSoftmax(normalize_axes(axis, x.ndim)).numpy(_float(x))


def _numpy_logsumexp(x: Array, axis: Any = None, *, keepdims: bool = False) -> Array:
    return Logsumexp(normalize_axes(axis, x.ndim), keepdims).numpy(_float(x))


@function(samples=_rows, reference=_numpy_softmax, section=SECTION)
def softmax(x: Any, axis: Any = -1) -> Tensor:
    """Return ``exp(x) / sum(exp(x))`` along ``axis`` (None: all axes), free of overflow."""
    (t,) = common("softmax", x, floating=True)
    return apply(Softmax(normalize_axes(axis, t.ndim)), t)


@function(samples=_rows, reference=_numpy_log_softmax, section=SECTION)
def log_softmax(x: Any, axis: Any = -1) -> Tensor:
    """Return ``log(softmax(x))`` along ``axis`` (None: all axes), exact where softmax vanishes."""
    (t,) = common("log_softmax", x, floating=True)
    return apply(LogSoftmax(normalize_axes(axis, t.ndim)), t)


def _sums() -> Iterable[Sample]:
    yield from _rows()
    x = np.random.default_rng(0).standard_normal((3, 4))
    yield Sample((x,), (("axis", 0), ("keepdims", True)))


@function(samples=_sums, reference=_numpy_logsumexp, section=SECTION)
def logsumexp(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return ``log(sum(exp(x)))`` along ``axis`` (default: all axes), free of overflow.

    A line of -inf (or of nothing) gives -inf, one with inf gives inf.
    """
    (t,) = common("logsumexp", x, floating=True)
    return apply(Logsumexp(normalize_axes(axis, t.ndim), keepdims), t)
