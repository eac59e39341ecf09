"""Rectangular parts: cut one out of a tensor, or set one into a larger tensor.

Each op here is the transpose of another, so their derivatives close under any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import IndexingError, ShapeError
from graphc.ir.layout import Layout
from graphc.ir.op import Array, Assembly, Linear, Sample, View, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import SIZE, grown
from graphc.ops.operands import as_tensor
from graphc.ops.shape import moveaxis
from graphc.types import (
    AnyDim,
    Dim,
    Shape,
    TensorType,
    dim_at,
    dim_max,
    dim_min,
    normalize_axes,
    normalize_axis,
    shape_at,
)

SECTION = "Slices"


def _window(
    starts: tuple[AnyDim, ...], steps: tuple[int, ...], lengths: tuple[int, ...]
) -> tuple[slice, ...]:
    """Return the slices that visit ``starts[a] + i * steps[a]`` for ``i < lengths[a]``."""
    window = []
    for start, step, length in zip(starts, steps, lengths, strict=True):
        first = dim_at(start, 0)
        stop = first + length * step
        window.append(slice(first, None if stop < 0 else stop, step) if length else slice(0))
    return tuple(window)


def _region(layout: Layout, starts: tuple[AnyDim, ...], steps: tuple[int, ...]) -> Layout:
    """Return the part of ``layout`` that begins at ``starts`` and strides by ``steps``."""
    offset = layout.offset
    for start, stride in zip(starts, layout.strides, strict=True):
        offset = offset + start * stride
    return Layout(offset, tuple(s * k for s, k in zip(layout.strides, steps, strict=True)))


@register
@grown(starts=0, steps=1, lengths=SIZE)
class Slice(Linear, View):
    """``lengths[a]`` elements along each axis: number ``starts[a]`` and every ``steps[a]`` on."""

    starts: tuple[AnyDim, ...]
    steps: tuple[int, ...]
    lengths: Shape

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.ndim != len(self.lengths):
            raise ShapeError(f"a slice of {len(self.lengths)} axes does not fit {x}")
        if any(isinstance(d, int) and d < 0 for d in self.nonnegative(x)):
            raise IndexingError(f"slice {self.parameters()} is out of bounds for {x}")
        return x.with_shape(self.lengths)

    def nonnegative(self, *types: TensorType) -> tuple[AnyDim, ...]:
        # A length known now is taken whatever the batch: both its ends must exist then.
        (x,) = types
        needs: list[AnyDim] = []
        for start, step, length, dim in zip(
            self.starts, self.steps, self.lengths, x.shape, strict=True
        ):
            if isinstance(length, int) and length > 0:
                ends = (start, start + step * (length - 1))
                needs.extend(e for end in ends for e in (end, dim - 1 - end))
        return tuple(dict.fromkeys([d for d in needs if isinstance(d, Dim) or d < 0]))

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        self.infer(TensorType(x.dtype, x.shape))
        return x[_window(self.starts, self.steps, shape_at(self.lengths, 0))]

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        return _region(layout, self.starts, self.steps)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        shape = inputs[0].type.shape
        if self.lengths == shape:  # a reversal is its own transpose
            return (apply(self, g),)
        return (apply(Embed(self.starts, self.steps, shape), g),)


@register
@grown(starts=0, steps=1, shape=SIZE)
class Embed(Linear, Assembly):
    """A tensor of ``shape`` filled with ``value`` but for the operand, set in as by a slice."""

    starts: tuple[AnyDim, ...]
    steps: tuple[int, ...]
    shape: Shape
    value: float | int = 0

    def infer(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(self.shape)

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        result = np.full(shape_at(self.shape, 0), self.value, x.dtype)
        result[_window(self.starts, self.steps, x.shape)] = x
        return result

    def fill(self) -> float | int | None:
        return self.value

    def regions(self, out: TensorType, *types: TensorType) -> Sequence[Layout]:
        return (_region(Layout.contiguous(out.shape), self.starts, self.steps),)

    def outside(self, out: TensorType, *types: TensorType) -> Sequence[tuple[Layout, Shape]] | None:
        if any(step != 1 for step in self.steps):
            return None
        strides = Layout.contiguous(out.shape).strides
        boxes: list[tuple[Layout, Shape]] = []
        start: AnyDim = 0
        inner: Shape = ()
        for axis, (low, size) in enumerate(zip(self.starts, types[0].shape, strict=True)):
            for first, length in ((0, low), (low + size, out.shape[axis] - low - size)):
                if length != 0:
                    layout = Layout(start + first * strides[axis], strides)
                    boxes.append((layout, (*inner, length, *out.shape[axis + 1 :])))
            start, inner = start + low * strides[axis], (*inner, size)
        return boxes

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (apply(Slice(self.starts, self.steps, inputs[0].type.shape), g),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        return None if t is None else apply(Embed(self.starts, self.steps, self.shape), t)


def part(x: Tensor, axis: int, start: AnyDim, length: AnyDim, step: int = 1) -> Tensor:
    """Return ``length`` elements of ``x`` along ``axis``, from ``start`` on."""
    shape = list(x.type.shape)
    if start == 0 and step == 1 and length == shape[axis]:
        return x
    starts: list[AnyDim] = [0] * x.ndim
    steps = [1] * x.ndim
    starts[axis], steps[axis], shape[axis] = start, step, length
    return apply(Slice(tuple(starts), tuple(steps), tuple(shape)), x)


def _flips() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    for axis in (None, 0, 1, -1, (0, 1), ()):
        yield Sample((x,), (("axis", axis),))
    yield Sample((x[:0],), (("axis", 0),))
    yield Sample((np.array(2.0),))


@function(samples=_flips, reference=np.flip, section=SECTION)
def flip(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Return ``x`` with its elements in reverse order along ``axis`` (default: all axes)."""
    t = as_tensor(x)
    axes = normalize_axes(axis, t.ndim)
    shape = t.type.shape
    if all(shape[a] == 1 for a in axes):
        return t
    starts = tuple(d - 1 if a in axes else 0 for a, d in enumerate(shape))
    steps = tuple(-1 if a in axes else 1 for a in range(t.ndim))
    return apply(Slice(starts, steps, shape), t)


# -- diagonals -----------------------------------------------------------------------------------


@register
@grown()
class Diagonal(Linear, View):
    """The elements ``x[..., i, i + offset]`` of the last two axes."""

    offset: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        rows, columns = x.shape[-2:]
        down, right = max(-self.offset, 0), max(self.offset, 0)
        length = dim_max(dim_min(rows - down, columns - right), 0)
        return x.with_shape((*x.shape[:-2], length))

    def numpy(self, *arrays: Array) -> Array:
        return np.diagonal(arrays[0], self.offset, -2, -1)

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        *lead, down, right = layout.strides
        first = right * self.offset if self.offset > 0 else down * -self.offset
        return Layout(layout.offset + first, (*lead, down + right))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        rows, columns = inputs[0].type.shape[-2:]
        return (apply(EmbedDiagonal(rows, columns, self.offset), g),)


@register
@grown()
class EmbedDiagonal(Linear, Assembly):
    """Zero matrices of ``rows`` by ``columns`` with the operand on one diagonal."""

    rows: AnyDim
    columns: AnyDim
    offset: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return x.with_shape((*x.shape[:-1], self.rows, self.columns))

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        shape = (*x.shape[:-1], dim_at(self.rows, 0), dim_at(self.columns, 0))
        result = np.zeros(shape, x.dtype)
        i = np.arange(x.shape[-1])
        result[..., i + max(-self.offset, 0), i + max(self.offset, 0)] = x
        return result

    def fill(self) -> float | int | None:
        return 0

    def regions(self, out: TensorType, *types: TensorType) -> Sequence[Layout]:
        seen = Diagonal(self.offset).layout(Layout.contiguous(out.shape), out, types[0])
        assert seen is not None
        return (seen,)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (apply(Diagonal(self.offset), g),)


def _diagonals() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for args in ((), (1,), (-1,), (9,), (0, 1, 2), (1, -1, 0), (-2, 2, 1)):
        yield Sample((x, *args))
    yield Sample((x[:0],))


@function(samples=_diagonals, reference=np.diagonal, section="Linear algebra")
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Return the diagonals ``x[i, i + offset]`` of two axes as a new last axis."""
    t = as_tensor(x)
    if t.ndim < 2:
        raise ShapeError("diag requires an array of at least two dimensions")
    a, b = normalize_axis(axis1, t.ndim), normalize_axis(axis2, t.ndim)
    if a == b:
        raise ShapeError("axis1 and axis2 cannot be the same")
    return apply(Diagonal(int(offset)), moveaxis(t, (a, b), (-2, -1)))


def _diags() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    for k in (0, 1, -2):
        yield Sample((x,), (("k", k),))
        yield Sample((x[0],), (("k", k),))


@function(samples=_diags, reference=np.diag, section="Linear algebra")
def diag(x: Any, k: int = 0) -> Tensor:
    """Return diagonal ``k`` of a matrix, or the matrix with vector ``x`` on diagonal ``k``."""
    t = as_tensor(x)
    if t.ndim == 2:
        return diagonal(t, k)
    if t.ndim != 1:
        raise ShapeError("Input must be 1- or 2-d.")
    size = t.type.shape[0] + abs(int(k))
    return apply(EmbedDiagonal(size, size, int(k)), t)
