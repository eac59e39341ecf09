"""Comparison, logic, and selection by them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.ir.op import Array, Sample, function, register
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Literal, Value, select, vmath
from graphc.ops.cast import cast
from graphc.ops.elementwise import DType, Math, Piecewise, binary
from graphc.ops.operands import as_tensor, beyond, common, is_weak
from graphc.ops.shape import broadcast_to
from graphc.types import BOOL

SECTION = "Comparison and logic"
SELECTION = "Selection"


# -- comparison -----------------------------------------------------------------------------


class Comparison(Math):
    """A relation of two numbers; it has no derivative."""

    def result_dtype(self, *dtypes: DType) -> DType:
        return BOOL


@register
class Equal(Comparison):
    """``x == y``."""

    ufunc = np.equal
    formula = Value.equals


@register
class NotEqual(Comparison):
    """``x != y``."""

    ufunc = np.not_equal
    formula = Value.differs


@register
class Less(Comparison):
    """``x < y``."""

    ufunc = np.less
    formula = operator.lt


@register
class LessEqual(Comparison):
    """``x <= y``."""

    ufunc = np.less_equal
    formula = operator.le


def _related(what: str, op: Comparison, x: Any, y: Any) -> Tensor:
    """Return the relation of ``x`` and ``y``, exact for Python integers of any size."""
    if isinstance(x, int) and isinstance(y, int):
        return constant(bool(op.ufunc(x, y)))
    x, y = (v if is_weak(v) else as_tensor(v) for v in (x, y))
    # to all numbers of the other's type, an integer beyond it stands as 1 or -1 does to 0
    sides = beyond(x, y), beyond(y, x)
    if not any(sides):
        return apply(op, *common(what, x, y))
    return broadcast_to(constant(bool(op.ufunc(*sides))), (y if sides[0] else x).type.shape)


def _relations() -> Iterable[Sample]:
    yield from binary(-2.0, 2.0, differentiable=False)()
    ties = np.array([0.0, -0.0, 1.0, np.nan, np.inf, -np.inf])
    yield Sample((ties, ties[:, None]), differentiable=False)
    yield Sample((np.array([True, False]), np.array([[True], [False]])), differentiable=False)
    few, more = np.array([-1, 0, 2**31 - 1], np.int32), np.array([-(2**63), 0, 2**63 - 1])
    for number in (2**31, -(2**31) - 1, 2**40, 2**63, -(2**63) - 1, 2**70, 2**31 - 1):
        for integers in (few, more):
            yield Sample((integers, number), differentiable=False)
            yield Sample((number, integers), differentiable=False)


@function(samples=_relations, reference=np.equal, section=SECTION)
def equal(x: Any, y: Any) -> Tensor:
    """Tell where ``x == y``; NaN equals nothing."""
    return _related("equal", Equal(), x, y)


@function(samples=_relations, reference=np.not_equal, section=SECTION)
def not_equal(x: Any, y: Any) -> Tensor:
    """Tell where ``x != y``."""
    return _related("not_equal", NotEqual(), x, y)


@function(samples=_relations, reference=np.less, section=SECTION)
def less(x: Any, y: Any) -> Tensor:
    """Tell where ``x < y``."""
    return _related("less", Less(), x, y)


@function(samples=_relations, reference=np.less_equal, section=SECTION)
def less_equal(x: Any, y: Any) -> Tensor:
    """Tell where ``x <= y``."""
    return _related("less_equal", LessEqual(), x, y)


@function(samples=_relations, reference=np.greater, section=SECTION)
def greater(x: Any, y: Any) -> Tensor:
    """Tell where ``x > y``: ``y < x``."""
    return _related("greater", Less(), y, x)


@function(samples=_relations, reference=np.greater_equal, section=SECTION)
def greater_equal(x: Any, y: Any) -> Tensor:
    """Tell where ``x >= y``: ``y <= x``."""
    return _related("greater_equal", LessEqual(), y, x)


# -- logic ----------------------------------------------------------------------------------


@register
class LogicalAnd(Math):
    """``x and y`` of booleans."""

    ufunc = np.logical_and
    formula = operator.and_


@register
class LogicalOr(Math):
    """``x or y`` of booleans."""

    ufunc = np.logical_or
    formula = operator.or_


@register
class LogicalXor(Math):
    """One of two booleans, not both."""

    ufunc = np.logical_xor
    formula = Value.differs


@register
class LogicalNot(Math):
    """``not x`` of a boolean."""

    ufunc = np.logical_not
    formula = operator.invert


def truth(*values: Any) -> tuple[Tensor, ...]:
    """Return ``values`` as booleans: anything but zero is True."""
    return tuple(cast(as_tensor(v), BOOL) for v in values)


def _truths() -> Iterable[Sample]:
    p = np.array([[True, False, True, False], [True, True, False, False]])
    for args in ((p[0], p[1]), (p, p[:, :1]), (p, True), (p[:, :0], p[:, :0])):
        yield Sample(args, differentiable=False)
    yield Sample((np.array([0.0, -0.0, 2.5, np.nan]), p), differentiable=False)
    yield Sample((np.array([0, 1, -2, 3]), p[0]), differentiable=False)


@function(samples=_truths, reference=np.logical_and, section=SECTION)
def logical_and(x: Any, y: Any) -> Tensor:
    """Tell where both ``x`` and ``y`` are true; numbers other than 0 are."""
    return apply(LogicalAnd(), *truth(x, y))


@function(samples=_truths, reference=np.logical_or, section=SECTION)
def logical_or(x: Any, y: Any) -> Tensor:
    """Tell where ``x`` or ``y`` is true; numbers other than 0 are."""
    return apply(LogicalOr(), *truth(x, y))


@function(samples=_truths, reference=np.logical_xor, section=SECTION)
def logical_xor(x: Any, y: Any) -> Tensor:
    """Tell where one of ``x`` and ``y`` is true and the other is not."""
    return apply(LogicalXor(), *truth(x, y))


@function(
    samples=lambda: [Sample((s.args[0],), differentiable=False) for s in _truths()],
    reference=np.logical_not,
    section=SECTION,
)
def logical_not(x: Any) -> Tensor:
    """Tell where ``x`` is false: 0."""
    return apply(LogicalNot(), *truth(x))


# -- selection ------------------------------------------------------------------------------


@register
class Where(Piecewise):
    """``x`` where the condition holds, else ``y``; the other's derivative is 0 (0 * inf is NaN)."""

    def result_dtype(self, *dtypes: DType) -> DType:
        return dtypes[1]

    def numpy(self, *arrays: Any) -> Any:
        return np.where(*arrays)

    def scalar(self, lit: Literal, *args: Value) -> Value:
        return select(*args)

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor | None:
        if place == 0:
            return None
        return where(inputs[0], t, 0) if place == 1 else where(inputs[0], 0, t)


@register
class Maximum(Piecewise, Math):
    """The greater of ``x`` and ``y``, NaN if one is; a tie shares the derivative in halves."""

    ufunc = np.maximum

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor | None:
        mine, other = inputs[place], inputs[1 - place]
        return where(mine < other, 0, where(mine == other, t * 0.5, t))


@register
class Minimum(Piecewise, Math):
    """The lesser of ``x`` and ``y``, NaN if one is; a tie shares the derivative in halves."""

    ufunc = np.minimum

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor | None:
        mine, other = inputs[place], inputs[1 - place]
        return where(mine > other, 0, where(mine == other, t * 0.5, t))


@register
class Clip(Piecewise):
    """``min(max(x, low), high)``; the derivative by ``x`` is 1 between the bounds and on them."""

    def numpy(self, *arrays: Any) -> Any:
        return np.minimum(np.maximum(arrays[0], arrays[1]), arrays[2])

    def scalar(self, lit: Literal, *args: Value) -> Value:
        x, low, high = args
        return vmath("minimum", vmath("maximum", x, low), high)

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor | None:
        x, low, high = inputs
        if place == 0:
            return where(logical_and(out == x, low <= high), t, 0)
        if place == 1:
            return where(logical_and(x < low, low < high), t, 0)
        return where(logical_or(x > high, low > high), t, 0)


def _selections() -> Iterable[Sample]:
    a, b = np.random.default_rng(0).uniform(-2.0, 2.0, (2, 3, 4))
    p = a > 0
    for args in (
        (p, a, b), (p, a[0], b[:, :1]), (p[0], a[:, :1], b[:, :1]), (p, a, 1.0), (p, 0, b),
        (p[:0], a[:0], b[0]), (p[0], 1.0, 2.0),
    ):  # fmt: skip
        yield Sample(args)
    i = np.array([3, 0, -1, 2])
    yield Sample((i, i + 1, -i), differentiable=False)
    yield Sample((a[0] > 0, np.inf, np.nan), differentiable=False)
    yield Sample((a[0] > 0, i > 0, i < 2), differentiable=False)


@function(samples=_selections, reference=np.where, section=SELECTION)
def where(condition: Any, x: Any, y: Any) -> Tensor:
    """Return ``x`` where ``condition`` holds, else ``y``; the three broadcast.

    The operand that is not taken gets the derivative 0, whatever arrives. A formula with an
    infinite derivative there still makes NaN of it (0 * inf), so make its operand safe:
    ``where(x > 0, sqrt(where(x > 0, x, 1)), 0)``.
    """
    return apply(Where(), *truth(condition), *common("where", x, y))


def _extremes() -> Iterable[Sample]:
    yield from binary(-2.0, 2.0)()
    ties = np.array([0.0, 1.0, np.nan, np.inf, -np.inf])
    yield Sample((ties, ties[:, None]), differentiable=False)
    yield Sample((np.array([True, False]), np.array([[True], [False]])), differentiable=False)


@function(samples=_extremes, reference=np.maximum, section=SELECTION)
def maximum(x: Any, y: Any) -> Tensor:
    """Return the greater of ``x`` and ``y``; NaN if either is NaN.

    Where they are equal, each gets half of the derivative, as in JAX and PyTorch.
    """
    a, b = common("maximum", x, y)
    return apply(LogicalOr() if a.dtype == BOOL else Maximum(), a, b)


@function(samples=_extremes, reference=np.minimum, section=SELECTION)
def minimum(x: Any, y: Any) -> Tensor:
    """Return the lesser of ``x`` and ``y``; NaN if either is NaN.

    Where they are equal, each gets half of the derivative, as in JAX and PyTorch.
    """
    a, b = common("minimum", x, y)
    return apply(LogicalAnd() if a.dtype == BOOL else Minimum(), a, b)


def _clips() -> Iterable[Sample]:
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (3, 4))
    low, high = np.array([-1.0, -0.5, 0.0, 0.5]), np.array([[1.0], [0.75], [0.25]])
    for args in (
        (x, -1.0, 1.0), (x, low, high), (x[0], -1.0, high), (x, low, 1.0), (x[:0], 0.0, 1.0),
    ):  # fmt: skip
        yield Sample(args)
    yield Sample((x, -0.5))
    yield Sample((x,), (("max", 0.5),))
    yield Sample((np.array([-1.0, 1.0, 0.0]), -1.0, 1.0), differentiable=False)
    yield Sample((x, 1.0, -1.0), differentiable=False)
    yield Sample((np.array([-3, 0, 5]), -1, 2), differentiable=False)
    yield Sample((np.array([-3, 0, 5], np.int32), -1), differentiable=False)
    yield Sample((np.array([-3, 0, 5], np.int32), -(2**40), 2**31), differentiable=False)
    for bounds in ((False, True), (True, True), (False, False), (0, 1), (None, False)):
        yield Sample((np.array([True, False]), *bounds), differentiable=False)


def _clip(x: Array, min: Any = None, max: Any = None) -> Array:
    return np.clip(x, min, max)


@function(samples=_clips, reference=_clip, section=SELECTION)
def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """Return ``x`` confined to ``min`` and ``max``, each a number, a tensor or None.

    A bound beyond the range of an integer ``x``, on its own side, confines nothing. The
    derivative by ``x`` is 1 between the bounds and on them, as in PyTorch, and 0 outside.
    """
    t = as_tensor(x)
    low = None if min is None or beyond(min, t) < 0 else min
    high = None if max is None or beyond(max, t) > 0 else max
    t, *bounds = common("clip", t, *(b for b in (low, high) if b is not None))
    if t.dtype == BOOL:
        t = t if low is None else apply(LogicalOr(), t, bounds[0])
        return t if high is None else apply(LogicalAnd(), t, bounds[-1])
    if not bounds:
        return t
    least, most = _ends(t.dtype)
    low = constant(least, t.dtype) if low is None else bounds[0]
    high = constant(most, t.dtype) if high is None else bounds[-1]
    return apply(Clip(), t, low, high)


def _ends(dtype: DType) -> tuple[float, float]:
    """Return the least and the greatest value of ``dtype``."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    info = np.iinfo(dtype)
    return info.min, info.max
