"""What the order of elements tells: quantiles, places among sorted ones, distinct values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir.op import Access, Array, Emitter, Loops, Sample, function, register
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, Value, select
from graphc.ops.along import ScatterAddAlongAxis
from graphc.ops.arithmetic import floor_divide
from graphc.ops.batched import grown
from graphc.ops.cast import cast
from graphc.ops.comparison import equal, logical_and, logical_or, minimum, not_equal, where
from graphc.ops.creation import arange, extent
from graphc.ops.cumulative import cumulative_sum
from graphc.ops.gather import take
from graphc.ops.loops import nest, places
from graphc.ops.manipulation import concat
from graphc.ops.operands import as_tensor, common
from graphc.ops.rounding import ceil, floor, isnan, round
from graphc.ops.shape import expand_dims, moveaxis, permute_dims, ravel, reshape
from graphc.ops.slices import part
from graphc.ops.sorting import SECTION, ordered
from graphc.types import (
    BOOL,
    FLOAT64,
    INT64,
    AnyDim,
    TensorType,
    normalize_axes,
    size_of,
)

_TURNS = 64
"""Halvings of an interval whose length is known at run time only."""

METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


@register
@grown()
class SearchSorted(Loops):
    """How many elements of a sorted line stand before each value, by halving: ``log n`` steps.

    ``right`` counts equal ones too. The leading axes of both operands are the same.
    """

    right: bool

    def infer(self, *types: TensorType) -> TensorType:
        return types[1].with_dtype(INT64)

    def value_bounds(self, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        return 0, types[0].shape[-1] + 1

    def numpy(self, *arrays: Array) -> Array:
        lines, values = arrays
        found = np.empty(values.shape, INT64)
        side: Any = "right" if self.right else "left"
        for at in np.ndindex(values.shape[:-1]):
            found[at] = np.searchsorted(lines[at], values[at], side)
        return found

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        lines, values = ins
        names, length = places(out), lines.shape[-1]
        turns = length.value.bit_length() if isinstance(length, Integer) else _TURNS
        with nest(e, out, range(len(names)), parallel=True):
            value = e.let("value", values.at(*names))
            low, high = e.let("low", Integer(0)), e.let("high", length)
            with e.loop("turn", Integer(turns)), e.when(low < high):
                middle = e.let("middle", (low + high) // 2)
                before = e.let("before", self._before(lines.at(*names[:-1], middle), value))
                e.let("low", select(before, middle + 1, low))
                e.let("high", select(before, high, middle))
            e.store(out.at(*names), low)

    def _before(self, element: Value, value: Value) -> Value:
        if self.right:  # not behind
            return ~_less(value, element)
        return _less(element, value)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return out.size


def _less(x: Value, y: Value) -> Value:
    """Return whether ``x`` stands before ``y`` where a NaN is greater than all numbers."""
    return (x < y) | (y.differs(y) & x.equals(x)) if x.dtype.kind == "f" else x < y


def _searches() -> Iterable[Sample]:
    lines = np.sort(np.random.default_rng(0).integers(0, 9, (3, 8)).astype(float))
    values = np.array([[-1.0, 0.0, 3.0, 4.5, 9.0], [8.0, 2.0, 2.5, 5.0, 1.0], [np.nan] * 5])
    sorted_lines = lines.tolist()  # constants: halving finds nothing among spoilt ones
    for side in ("left", "right"):
        yield Sample((sorted_lines[0], values), (("side", side),), False)
        yield Sample((sorted_lines, values), (("side", side),), False)
    yield Sample(([], values), (), False)
    yield Sample((np.array([1, 1, 3]), np.array([[0, 1], [2, 4]])))
    backwards = list(range(7, -1, -1))
    yield Sample((sorted_lines[0][::-1], values), (("sorter", backwards),), False)


def _numpy_searchsorted(a: Any, v: Any, *, side: Any = "left", sorter: Any = None) -> Array:
    a, v = np.asarray(a), np.asarray(v)
    if a.ndim == 1:
        order = None if sorter is None else np.asarray(sorter)
        return np.asarray(np.searchsorted(a, v, side, order), INT64)
    return SearchSorted(side == "right").numpy(a, v)


@function(samples=_searches, reference=_numpy_searchsorted, section=SECTION)
def searchsorted(a: Any, v: Any, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Return the places where the values ``v`` would be inserted into sorted ``a`` to keep it so.

    ``a`` is one line, for values of any shape; or lines along its last axis, each for the values at
    the same place of the leading axes, as in PyTorch. ``side="left"`` finds the first such place,
    ``"right"`` the last; ``sorter`` puts one line ``a`` in order. A NaN is greater than all.
    """
    if side not in ("left", "right"):
        raise ArgumentError(f'searchsorted: side must be "left" or "right", got {side!r}')
    lines, values = common("searchsorted", a, v)
    if lines.dtype == BOOL:
        lines, values = cast(lines, INT64), cast(values, INT64)
    if not lines.ndim:
        raise ShapeError("searchsorted: the sorted operand is a scalar; it needs an axis")
    if sorter is not None:
        if lines.ndim > 1:
            raise ShapeError("searchsorted: a sorter is for one line, of 1 axis")
        lines = take(lines, sorter, axis=0)
    if lines.ndim == 1:
        return reshape(apply(SearchSorted(side == "right"), lines, ravel(values)), values.shape)
    if lines.type.shape[:-1] != values.type.shape[:-1]:
        raise ShapeError(
            f"searchsorted: the leading axes of {lines.describe()} and {values.describe()} differ"
        )
    return apply(SearchSorted(side == "right"), lines, values)


def _lines(t: Tensor, axis: Any) -> tuple[Tensor, tuple[int, ...]]:
    """Return the elements along ``axis`` sorted, as the last axis of the others, and the axes."""
    axes = normalize_axes(axis, t.ndim)
    others = [a for a in range(t.ndim) if a not in axes]
    kept = [t.type.shape[a] for a in others]
    length = size_of(t.type.shape[a] for a in axes)
    if length == 0:
        raise ShapeError(f"there is no order of 0 elements of {t.describe()}")
    lines = reshape(permute_dims(t, (*others, *axes)), (*kept, length))
    return ordered(lines, len(kept))[0], axes


def _spoilt(lines: Tensor, value: Tensor) -> Tensor:
    """Return ``value``, or NaN where there is one in the line: the last, in order."""
    length = lines.type.shape[-1]
    return where(isnan(part(lines, lines.ndim - 1, length - 1, 1)), np.nan, value)


def _medians() -> Iterable[Sample]:
    x = np.random.default_rng(0).permutation(60).reshape(3, 4, 5).astype(float)
    yield Sample((x,))
    for axis in (0, 1, -1, (0, 2)):
        yield Sample((x,), (("axis", axis), ("keepdims", axis == 1)))
    yield Sample((x[:1],), (("axis", 0),))
    yield Sample((np.array([3, 1, 2, 5]),))
    yield Sample((np.array([2.0, np.inf, np.inf, 1.0]),), (), False)


@function(samples=_medians, reference=np.median, section=SECTION)
def median(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the median along ``axis`` (default: all axes): of an even number, the mean of two.

    NaN where there is a NaN. Integers give float32.
    """
    (t,) = common("median", x, floating=True)
    lines, axes = _lines(t, axis)
    last, length = lines.ndim - 1, lines.type.shape[-1]
    if isinstance(length, int):
        low, high = (part(lines, last, k // 2, 1) for k in (length - 1, length))
    else:
        low, high = (take(lines, expand_dims(floor_divide(extent(k, INT64), 2)), axis=last)
                     for k in (length - 1, length))  # fmt: skip
    middle = low if isinstance(length, int) and length % 2 else (low + high) * 0.5
    value = _spoilt(lines, middle)
    return _kept(value, t, axes, keepdims)


def _kept(value: Tensor, t: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    dims = enumerate(t.type.shape)
    if keepdims:
        return reshape(value, [1 if a in axes else d for a, d in dims])
    return reshape(value, [d for a, d in dims if a not in axes])


def _quantiles() -> Iterable[Sample]:
    x = np.random.default_rng(0).permutation(60).reshape(3, 4, 5).astype(float)
    yield Sample((x, 0.3))
    for method in METHODS:
        yield Sample((x, [0.0, 0.25, 0.5, 0.9, 1.0]), (("axis", 1), ("method", method)))
    yield Sample((x, [[0.2], [0.7]]), (("axis", (0, -1)), ("keepdims", True)))
    yield Sample((x[:1], 0.5), (("axis", 0),))
    yield Sample((np.array([3, 1, 2, 5]), 0.4))
    yield Sample((x[0], np.array([0.31, 0.77])), (("axis", -1),))


def _numpy_quantile(x: Any, q: Any, axis: Any = None, **kwargs: Any) -> Any:
    value = np.quantile(np.asarray(x), np.asarray(q, FLOAT64), axis=axis, **kwargs)
    x = np.asarray(x)
    return np.asarray(value, x.dtype if x.dtype.kind == "f" else np.float32)


@function(samples=_quantiles, reference=_numpy_quantile, section=SECTION)
def quantile(
    x: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """Return the quantiles ``q``, in [0, 1], along ``axis`` (default: all), ``q``'s axes first.

    Between the elements beside ``q (n - 1)`` in their order, ``method`` interpolates linearly, or
    takes the ``"lower"``, ``"higher"``, ``"nearest"`` or their ``"midpoint"``. NaN where there is a
    NaN, and for a ``q`` that is computed outside [0, 1]; a constant one raises an ArgumentError.
    """
    if method not in METHODS:
        raise ArgumentError(f"quantile: method must be one of {METHODS}, got {method!r}")
    given = as_tensor(x)
    if given.dtype == BOOL and method in ("linear", "midpoint"):
        raise DTypeError(f"quantile: there is nothing between booleans, got {given.describe()}")
    (t,) = common("quantile", given, floating=True)
    wanted = cast(as_tensor(q if isinstance(q, Tensor) else np.asarray(q, FLOAT64)), FLOAT64)
    if isinstance(wanted.op, Constant):
        known = wanted.op.value.array
        if not ((known >= 0) & (known <= 1)).all():
            raise ArgumentError(f"quantile: q must lie in [0, 1], got {q!r}")
    lines, axes = _lines(t, axis)
    value = _spoilt(lines, _at(lines, ravel(wanted), method))
    first = reshape(moveaxis(value, -1, 0), (*wanted.type.shape, *value.type.shape[:-1]))
    shifted = tuple(a + wanted.ndim for a in axes) if keepdims else ()
    return expand_dims(first, shifted) if shifted else first


def _at(lines: Tensor, q: Tensor, method: str) -> Tensor:
    """Return the elements of sorted lines at the parts ``q`` of their length."""
    end = extent(lines.type.shape[-1] - 1, FLOAT64)
    inside = logical_and(q >= 0, q <= 1)
    at = where(inside, q, 0) * end
    last = lines.ndim - 1
    if method in ("lower", "higher", "nearest"):
        place = {"lower": floor, "higher": ceil, "nearest": round}[method](at)
        value = take(lines, cast(place, INT64), axis=last)
    else:
        low = floor(at)
        beside = (low, minimum(low + 1, end))
        a, b = (take(lines, cast(place, INT64), axis=last) for place in beside)
        weight = cast(at - low, lines.dtype)
        if method == "midpoint":
            weight = where(weight > 0, 0.5, 0.0)
        gap = b - a
        # from the nearer end, as NumPy: so the ends themselves are exact
        value = where(weight < 0.5, a + gap * weight, b - gap * (1 - weight))
    return where(inside, value, np.nan)


def _repeated() -> Iterable[Sample]:
    x = np.array([[3.0, 1.0, 3.0], [2.0, 1.0, 7.0]])
    every = (("return_index", True), ("return_inverse", True), ("return_counts", True))
    for size in (1, 4, 6):
        yield Sample((x,), (("size", size), *every), False)
    yield Sample((x,), (("size", 6), ("fill_value", -1.0)), False)
    yield Sample((np.arange(5.0)[::-1].copy(),), (("size", 5),))
    yield Sample((np.array([True, False, True]),), (("size", 3), *every))
    yield Sample((np.array([5, 5, 2, 2]),), (("size", 3), ("return_counts", True)))
    yield Sample((np.array([1.0, np.nan, 1.0, np.nan]),), (("size", 3), *every), False)


def _numpy_unique(
    x: Any, size: int, *, fill_value: Any = None, return_index: bool = False,
    return_inverse: bool = False, return_counts: bool = False,
) -> Any:  # fmt: skip
    x = np.asarray(x)
    values, index, inverse, counts = np.unique(x, True, True, True)
    first = np.full(size, values[0] if fill_value is None else fill_value, x.dtype)
    first[: len(values)] = values[:size]
    index = np.resize(np.append(index, [index[0]] * size)[:size], size)
    counts = np.append(counts, np.zeros(size, int))[:size]
    flags = (return_index, return_inverse, return_counts)
    more = [v for v, asked in zip((index, inverse, counts), flags, strict=True) if asked]
    return (first, *more) if more else first


@function(samples=_repeated, reference=_numpy_unique, section=SECTION)
def unique(
    x: Any, size: int, *, fill_value: Any = None, return_index: bool = False,
    return_inverse: bool = False, return_counts: bool = False,
) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
    """Return the ``size`` least distinct elements of flat ``x``, in ascending order, as in JAX.

    Where there are fewer, ``fill_value`` fills up (default: the least element). Then, where asked
    for, for each its first place in flat ``x`` (that of the least for what fills up), for each
    element of ``x`` the number of its value, and how often each value occurs (0 for what fills up).
    NaNs are equal here, and behind all numbers.
    """
    t = as_tensor(x)
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
        raise ArgumentError(f"unique: size must be an integer that is not negative, got {size!r}")
    if t.type.size == 0:
        raise ShapeError(f"unique: {t.describe()} has 0 elements, and no least one")
    values, place = ordered(ravel(t), 0)
    length = values.type.shape[0]
    before, after = part(values, 0, 0, length - 1), part(values, 0, 1, length - 1)
    new = not_equal(before, after)
    if t.dtype.kind == "f":
        new = logical_and(new, logical_or(equal(before, before), equal(after, after)))
    number = concat([np.zeros(1, np.int64), cumulative_sum(cast(new, INT64))])
    starts = searchsorted(number, arange(int(size) + 1, dtype=INT64))
    found = part(starts, 0, 0, int(size))
    there = found < extent(length, INT64)
    found = where(there, found, 0)
    picked = take(values, found, axis=0)
    results = [
        picked if fill_value is None else where(there, picked, cast(as_tensor(fill_value), t.dtype))
    ]
    if return_index:
        results.append(take(place, found, axis=0))
    if return_inverse:
        back = apply(ScatterAddAlongAxis(0, length), number, place)
        results.append(reshape(back, t.type.shape))
    if return_counts:
        results.append(part(starts, 0, 1, int(size)) - part(starts, 0, 0, int(size)))
    return results[0] if len(results) == 1 else tuple(results)
