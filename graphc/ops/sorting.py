"""Elements in their order: sorted, with the places they came from.

The sort is a merge sort from below (Knuth, *The Art of Computer Programming* 3, section 5.2.4):
stable, of ``n log n`` comparisons, and without a branch that depends on the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.op import Access, Array, Emitter, Loops, Sample, function, register
from graphc.ir.results import Multiple, results
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, Name, Value, least, select
from graphc.ops.along import ScatterAddAlongAxis, TakeAlongAxis
from graphc.ops.batched import grown
from graphc.ops.cast import cast
from graphc.ops.loops import nest, places
from graphc.ops.operands import as_tensor
from graphc.ops.shape import moveaxis
from graphc.ops.slices import part
from graphc.types import BOOL, INT32, INT64, AnyDim, Several, TensorType, normalize_axis, show_dim

SECTION = "Sorting"

_TURNS = 32
"""Pairs of passes over lines whose length is known at run time only: enough for 2^64 elements."""


def order_of(x: Array, descending: bool = False) -> Array:
    """Return the places of the elements of the last axis in their order, equal ones as they lie."""
    if not descending:
        return np.asarray(np.argsort(x, axis=-1, kind="stable"))
    backwards = np.argsort(np.flip(x, -1), axis=-1, kind="stable")
    return np.asarray(x.shape[-1] - 1 - np.flip(backwards, -1))


@register
@grown()
class Sorted(Multiple, Loops):
    """The elements along the last axis in order, their places before, and room to merge them in.

    Equal elements stay in their order. A NaN is greater than all numbers. The last two results
    are a second copy, between which and the first runs are merged to and fro.
    """

    descending: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return Several.of([x, x.with_dtype(INT64)] * 2)

    def result_bounds(self, number: int, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        return (0, types[0].shape[-1]) if number == 1 else None

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        place = order_of(x, self.descending)
        values = np.take_along_axis(x, place, -1)
        return values, place, values, place

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        (x,) = ins
        first, second = out[:2], out[2:]
        names = places(x)
        lines, length = range(len(names) - 1), x.shape[-1]
        with nest(e, x, lines, parallel=True):
            with nest(e, x, [len(lines)]):
                e.store(first[0].at(*names), x.at(*names))
                e.store(first[1].at(*names), names[-1])
            turns = _TURNS
            if isinstance(length, Integer):
                turns = (max(0, length.value - 1).bit_length() + 1) // 2
            width = e.let("width", Integer(1))
            with e.loop("turn", Integer(turns)):
                with e.when(width < length):
                    self._merge(e, first, second, names[:-1], length, width)
                    self._merge(e, second, first, names[:-1], length, width * 2)
                e.let(width.name, least(width * 4, length))

    def _merge(
        self, e: Emitter, source: Any, target: Any, line: list[Name], length: Value, width: Value
    ) -> None:
        """Merge each two neighbouring runs of ``width`` elements."""
        run = e.let("run", width)
        with e.loop("pair", (length + run * 2 - 1) // (run * 2)) as pair:
            start = e.let("start", pair * run * 2)
            middle = e.let("middle", least(start + run, length))
            stop = e.let("stop", least(start + run * 2, length))
            left, right = e.let("left", start), e.let("right", middle)
            with e.loop("to", stop, start) as to:
                last = length - 1
                a = (*line, e.let("a", least(left, last)))
                b = (*line, e.let("b", least(right, last)))
                x, y = (source[0].at(*at).load(source[0].dtype) for at in (a, b))
                stays = e.let("stays", (left < middle) & ((right >= stop) | ~self._before(y, x)))
                e.store(target[0].at(*line, to), select(stays, x, y))
                e.store(target[1].at(*line, to), select(stays, source[1].at(*a), source[1].at(*b)))
                step = e.let("step", stays.cast(INT64))
                e.let("left", left + step)
                e.let("right", right + 1 - step)

    def _before(self, y: Value, x: Value) -> Value:
        """Return whether ``y`` must stand before ``x``, which stood before it."""
        low, high = (x, y) if self.descending else (y, x)
        if x.dtype.kind != "f":
            return low < high
        return (low < high) | (high.differs(high) & low.equals(low))

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        if 0 not in gs:
            return (None,)
        (x,) = inputs
        back = ScatterAddAlongAxis(x.ndim - 1, x.type.shape[-1])
        return (apply(back, gs[0], results(out)[1]),)

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        (t,) = tangents
        if t is None:
            return {}
        return {0: apply(TakeAlongAxis(t.ndim - 1), t, results(out)[1])}

    def waits(self, out: TensorType, *types: TensorType) -> AnyDim:
        (x,) = types
        length = x.shape[-1]
        passes = (length - 1).bit_length() if isinstance(length, int) and length else _TURNS // 2
        return x.size * passes


def ordered(x: Tensor, axis: int, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Return the elements along ``axis`` in their order, and their places before."""
    numbers = cast(x, INT32) if x.dtype == BOOL else x
    last = moveaxis(numbers, axis, -1)
    values, place, *_ = results(apply(Sorted(descending), last))
    return cast(moveaxis(values, -1, axis), x.dtype), moveaxis(place, -1, axis)


def _sorts() -> Iterable[Sample]:
    x = np.random.default_rng(0).permutation(168).astype(float).reshape(2, 12, 7)
    yield Sample((x[0],))
    for axis in (0, 1, -1):
        yield Sample((x,), (("axis", axis), ("descending", axis == 1)))
    for n in (0, 1, 2, 3, 5, 8):
        yield Sample((x[0, :n, :3],), (("axis", 0),))
    yield Sample((np.array([3, -1, 3, 0, 2, -1, 3]),))
    yield Sample((np.array([[3, -1, 3, 0, 2]], np.int32),), (("descending", True),))
    yield Sample((np.array([True, False, True, False]),))
    yield Sample((np.array([[2.0, 1.0, 2.0, 1.0, np.nan, 1.0, -0.0, 0.0, np.inf, np.nan]]),),
                 (("descending", True),), False)  # fmt: skip


def _numpy_argsort(x: Any, axis: int = -1, *, descending: bool = False) -> Array:
    lines = np.moveaxis(np.asarray(x), axis, -1)
    return np.moveaxis(order_of(lines, descending), -1, axis)


def _numpy_sort(x: Any, axis: int = -1, *, descending: bool = False) -> Array:
    place = _numpy_argsort(x, axis, descending=descending)
    return np.take_along_axis(np.asarray(x), place, axis)


@function(samples=_sorts, reference=_numpy_sort, section=SECTION)
def sort(x: Any, axis: int = -1, *, descending: bool = False) -> Tensor:
    """Return the elements of ``x`` along ``axis`` in ascending order, or descending.

    A NaN is greater than all numbers, as in NumPy and PyTorch: last, or first if descending. A
    derivative goes where its element came from; of equal ones, in their order.
    """
    t = as_tensor(x)
    return ordered(t, normalize_axis(axis, t.ndim), descending)[0]


@function(samples=_sorts, reference=_numpy_argsort, section=SECTION)
def argsort(x: Any, axis: int = -1, *, descending: bool = False) -> Tensor:
    """Return the places that put ``x`` in order along ``axis``, of equal elements in their order.

    ``take_along_axis(x, argsort(x))`` is ``sort(x)``.
    """
    t = as_tensor(x)
    return ordered(t, normalize_axis(axis, t.ndim), descending)[1]


def _tops() -> Iterable[Sample]:
    x = np.random.default_rng(1).permutation(24).astype(float).reshape(4, 6)
    for k in (0, 1, 4, 6):
        yield Sample((x, k))
    yield Sample((x, 2), (("axis", 0),))
    yield Sample((x, 3), (("largest", False),))
    yield Sample((np.array([3, 3, 1, 3]), 2))


def _numpy_top_k(x: Any, k: int, *, axis: int = -1, largest: bool = True) -> tuple[Array, Array]:
    place = _numpy_argsort(x, axis, descending=largest)
    place = np.take(place, np.arange(k), axis)
    return np.take_along_axis(np.asarray(x), place, axis), place


@function(samples=_tops, reference=_numpy_top_k, section=SECTION)
def top_k(x: Any, k: int, *, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """Return the ``k`` greatest elements along ``axis`` and their places, the greatest first.

    With ``largest=False`` the least, the least first. Of equal elements those that come first
    are taken, as in JAX; a NaN is greater than all numbers, as in PyTorch.
    """
    t = as_tensor(x)
    place = normalize_axis(axis, t.ndim)
    length = t.type.shape[place]
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
        raise ArgumentError(f"top_k: k must be an integer that is not negative, got {k!r}")
    if isinstance(length, int) and k > length:
        raise ArgumentError(f"top_k: axis {axis} has {show_dim(length)} elements, not {k}")
    values, order = ordered(t, place, largest)
    return part(values, place, 0, int(k)), part(order, place, 0, int(k))
