"""Running sums, products and linear recurrences along an axis.

The derivative of each is a recurrence that runs the other way, so three ops close under any
order of differentiation:

* ``shift``: ``y_i = x_{i-1}``; its transpose shifts back;
* ``h_i = a_i h_{i-1} + b_i``: the adjoint of ``h`` obeys ``r_i = g_i + a_{i+1} r_{i+1}``;
* ``p_i = x_i p_{i-1}``: a recurrence whose tangent and adjoint are of the kind above.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Access, Array, Emitter, Linear, Loops, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, Value, least
from graphc.ops.batched import grown
from graphc.ops.cast import cast
from graphc.ops.loops import nest, places
from graphc.ops.operands import as_tensor
from graphc.ops.shape import ravel
from graphc.ops.slices import flip
from graphc.types import (
    BOOL,
    INT32,
    INT64,
    AnyDim,
    DTypeLike,
    Shape,
    TensorType,
    as_dtype,
    normalize_axis,
    size_of,
)

SECTION = "Cumulative"

FEW_LANES = 2
"""Lines beside each other below which each is walked by itself."""

_AHEAD = 128
"""Steps of a line up to which a processor begins with the next before it is done."""


@grown()
class Running(Loops):
    """Walks one axis and carries a value along it; the lines are independent.

    Along the last axis line by line, the value in a register. Else the lines lie beside each
    other: all take a step together, one in each lane, and find the value in memory.
    """

    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        if self._goes_line_by_line(out.dims):
            self._line_by_line(e, out, ins)
        else:
            self._side_by_side(e, out, ins)

    def waits(self, out: TensorType, *types: TensorType) -> AnyDim:
        if not self._goes_line_by_line(out.shape):
            return 0
        length = out.shape[self.axis]
        if not isinstance(length, int) or length > _AHEAD:
            return out.size
        others = (*out.shape[: self.axis], *out.shape[self.axis + 1 :])
        return size_of(others) * ((length + 1) // 2)  # the next line has begun

    def _goes_line_by_line(self, shape: Shape) -> bool:
        beside = size_of(shape[self.axis + 1 :])
        return isinstance(beside, int) and beside < FEW_LANES

    def _line_by_line(self, e: Emitter, out: Access, ins: Sequence[Access]) -> None:
        at = places(out)
        others = [k for k in range(len(at)) if k != self.axis]
        with nest(e, out, others, parallel=True):
            total = e.let("total", e.lit(self.start(), out.dtype))
            with nest(e, out, [self.axis]):
                written, carried = self.step(total, *(x.at(*at) for x in ins))
                if written is carried:
                    written = carried = e.let(total.name, written)
                e.store(out.at(*at), written)
                if carried is not written:
                    e.let(total.name, carried)

    def _side_by_side(self, e: Emitter, out: Access, ins: Sequence[Access]) -> None:
        axis, at = self.axis, places(out)
        before = [*at[:axis], at[axis] - 1, *at[axis + 1 :]]
        length = out.dims[axis]
        first = Integer(min(1, length)) if isinstance(length, int) else least(out.shape[axis], 1)
        with nest(e, out, range(axis), parallel=True):
            for start, stop in ((Integer(0), first), (Integer(1), out.shape[axis])):
                lanes = nest(e, out, range(axis + 1, len(at)), parallel=axis == 0)
                with e.loop(at[axis].name, stop, start), lanes:
                    if start == Integer(0):
                        total: Value = e.lit(self.start(), out.dtype)
                    else:
                        total = self.carried(out.at(*before), *(x.at(*before) for x in ins))
                    written, _ = self.step(total, *(x.at(*at) for x in ins))
                    e.store(out.at(*at), written)

    def start(self) -> float:
        """Return what is carried to the first element."""
        return 0

    @abstractmethod
    def step(self, total: Value, *ins: Value) -> tuple[Value, Value]:
        """Return what is written, and carried on, given the operands' elements and ``total``."""

    @abstractmethod
    def carried(self, out: Value, *ins: Value) -> Value:
        """Return what a step carries on, given the elements that it read and wrote."""


class Accumulating(Running):
    """Writes what it carries on."""

    @abstractmethod
    def update(self, total: Value, *ins: Value) -> Value:
        """Return the next ``total``."""

    def step(self, total: Value, *ins: Value) -> tuple[Value, Value]:
        total = self.update(total, *ins)
        return total, total

    def carried(self, out: Value, *ins: Value) -> Value:
        return out

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return out.size * len(types)


def reverse(op: Running, *inputs: Tensor) -> Tensor:
    """Return ``op`` walking its axis from the end to the start."""
    return flip(apply(op, *[flip(x, op.axis) for x in inputs]), op.axis)


@register
class Shift(Running):
    """``y_i = x_{i-1}`` along ``axis``, with ``y_0 = first``."""

    axis: int
    first: float = 0.0

    def numpy(self, *arrays: Array) -> Array:
        x = np.moveaxis(arrays[0], self.axis, 0)
        y = np.full_like(x, self.first)
        y[1:] = x[:-1]
        return np.moveaxis(y, 0, self.axis)

    def start(self) -> float:
        return self.first

    def step(self, total: Value, *ins: Value) -> tuple[Value, Value]:
        return total, ins[0]

    def carried(self, out: Value, *ins: Value) -> Value:
        return ins[0]

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (reverse(Shift(self.axis), g),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        return None if t is None else apply(Shift(self.axis), t)


@register
class LinearRecurrence(Accumulating):
    """``h_i = a_i h_{i-1} + b_i`` along ``axis``, with ``h_{-1} = 0``."""

    axis: int

    def numpy(self, *arrays: Array) -> Array:
        a, b = (np.moveaxis(x, self.axis, 0) for x in arrays)
        h = np.empty_like(b)
        total = np.zeros(b.shape[1:], b.dtype)
        for i in range(len(b)):
            total = h[i] = a[i] * total + b[i]
        return np.moveaxis(h, 0, self.axis)

    def update(self, total: Value, *ins: Value) -> Value:
        a, b = ins
        return a * total + b

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        r = self.adjoint(inputs[0], g)
        return r * apply(Shift(self.axis), out), r

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        ta, tb = tangents
        drive = tb
        if ta is not None:
            drive = ta * apply(Shift(self.axis), out)
            drive = drive if tb is None else drive + tb
        return None if drive is None else apply(self, inputs[0], drive)

    def adjoint(self, a: Tensor, g: Tensor) -> Tensor:
        """Return ``r`` with ``r_i = g_i + a_{i+1} r_{i+1}``."""
        return reverse(self, reverse(Shift(self.axis), a), g)


@register
class CumulativeSum(Linear, Accumulating):
    """``s_i = x_0 + ... + x_i`` along ``axis``."""

    axis: int

    def numpy(self, *arrays: Array) -> Array:
        return np.cumsum(arrays[0], self.axis, dtype=arrays[0].dtype)

    def update(self, total: Value, *ins: Value) -> Value:
        return total + ins[0]

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (reverse(self, g),)


@register
class CumulativeProd(Accumulating):
    """``p_i = x_0 ... x_i`` along ``axis``; its derivative needs no division."""

    axis: int

    def numpy(self, *arrays: Array) -> Array:
        return np.cumprod(arrays[0], self.axis, dtype=arrays[0].dtype)

    def start(self) -> float:
        return 1

    def update(self, total: Value, *ins: Value) -> Value:
        return total * ins[0]

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        before = apply(Shift(self.axis, 1.0), out)
        return (before * LinearRecurrence(self.axis).adjoint(inputs[0], g),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (x,), (t,) = inputs, tangents
        if t is None:
            return None
        before = apply(Shift(self.axis, 1.0), out)
        return apply(LinearRecurrence(self.axis), x, t * before)


def exclusive_product(x: Tensor, axis: int) -> Tensor:
    """Return for each element the product of those before it along ``axis``."""
    return apply(Shift(axis, 1.0), apply(CumulativeProd(axis), x))


def _lines() -> Iterable[Sample]:
    x = np.random.default_rng(0).uniform(0.5, 2.0, (3, 4, 2))
    x[0, 1, 0] = x[1, 0, 1] = x[1, 2, 1] = 0.0
    for axis in (0, 1, -1):
        yield Sample((x,), (("axis", axis),))
    yield Sample((x[0, :, 0],))
    for part in (x[:, :0], x[:, :1]):
        yield Sample((part,), (("axis", 1),))
    yield Sample((np.arange(1, 5, dtype="int32"),), differentiable=False)
    yield Sample((np.array([True, False, True]),), differentiable=False)


def _operand(x: Any, axis: int | None, dtype: DTypeLike) -> tuple[Tensor, int]:
    """Return the operand, widened as for a sum, and the axis."""
    t = as_tensor(x)
    if axis is None and t.ndim > 1:
        raise ShapeError("axis must be given for more than one dimension")
    t = t if t.ndim else ravel(t)
    if dtype is not None:
        t = cast(t, as_dtype(dtype))
    elif t.dtype in (BOOL, INT32):
        t = cast(t, INT64)
    return t, normalize_axis(0 if axis is None else axis, t.ndim)


@function(samples=_lines, reference=np.cumsum, section=SECTION)
def cumulative_sum(x: Any, *, axis: int | None = None, dtype: DTypeLike = None) -> Tensor:
    """Return the sums of the elements of ``x`` up to each place along ``axis``.

    ``axis`` may be left out for one dimension; booleans and int32 add up in int64.
    """
    t, place = _operand(x, axis, dtype)
    return apply(CumulativeSum(place), t)


@function(samples=_lines, reference=np.cumprod, section=SECTION)
def cumulative_prod(x: Any, *, axis: int | None = None, dtype: DTypeLike = None) -> Tensor:
    """Return the products of the elements of ``x`` up to each place along ``axis``.

    ``axis`` may be left out for one dimension; booleans and int32 multiply in int64.
    """
    t, place = _operand(x, axis, dtype)
    return apply(CumulativeProd(place), t)
