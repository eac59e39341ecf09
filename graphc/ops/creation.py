"""Tensors made from nothing: filled, counted, or wrapped."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np

from graphc.convert import converted
from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Array, Elementwise, Sample, Source, function, register
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Literal, Value
from graphc.ops.cast import cast
from graphc.ops.operands import as_tensor
from graphc.ops.shape import broadcast_to
from graphc.types import (
    FLOAT32,
    INT64,
    AnyDim,
    DTypeLike,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    dim_at,
    shape_at,
)

SECTION = "Creation"


@register
class Extent(Source):
    """The dimension ``dim``, which depends on the batch, as a scalar."""

    dim: AnyDim
    dtype: np.dtype[Any]

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.dtype, ())

    def numpy(self, *arrays: Array) -> Array:
        return np.asarray(dim_at(self.dim, 0), self.dtype)


def extent(dim: AnyDim, dtype: np.dtype[Any]) -> Tensor:
    """Return a dimension as a scalar: a constant if it is known now."""
    return constant(dim, dtype) if isinstance(dim, int) else apply(Extent(dim, dtype))


@register
class Iota(Elementwise):
    """The place of each element along ``axis`` of a tensor of ``shape``."""

    indexed = "full"
    weak = False

    shape: Shape
    axis: int
    dtype: np.dtype[Any]

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def numpy(self, *arrays: Array) -> Array:
        shape = shape_at(self.shape, 0)
        column = [-1 if a == self.axis else 1 for a in range(len(shape))]
        places = np.arange(shape[self.axis], dtype=self.dtype)
        return np.broadcast_to(places.reshape(column), shape)

    def value_bounds(self, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        return 0, self.shape[self.axis]

    def scalar(self, lit: Literal, *args: Value) -> Value:
        return args[self.axis].cast(self.dtype)


def iota(shape: Shape, axis: int, dtype: np.dtype[Any]) -> Tensor:
    """Return the place of each element along ``axis``."""
    return apply(Iota(shape, axis, dtype))


def iota_along(x: Tensor, axis: int, dtype: np.dtype[Any] = INT64) -> Tensor:
    """Return the places along ``axis`` of ``x``, shaped to broadcast against it."""
    shape = tuple(d if a == axis else 1 for a, d in enumerate(x.type.shape))
    return iota(shape, axis, dtype)


def _shapes() -> Iterable[Sample]:
    for shape in ((), (3,), (2, 0, 3), 4):
        for dtype in ("float32", "int64", "bool"):
            yield Sample((shape,), (("dtype", dtype),))


def filled(shape: Shape, value: float, dtype: np.dtype[Any]) -> Tensor:
    """Return ``value`` repeated to ``shape``; takes no memory."""
    return broadcast_to(constant(value, dtype), shape)


@function(samples=_shapes, reference=np.zeros, section=SECTION)
def zeros(shape: Any, *, dtype: DTypeLike = FLOAT32) -> Tensor:
    """Return zeros; ``None`` in ``shape`` stands for the batch."""
    return filled(as_shape(shape), 0, as_dtype(dtype))


@function(samples=_shapes, reference=np.ones, section=SECTION)
def ones(shape: Any, *, dtype: DTypeLike = FLOAT32) -> Tensor:
    """Return ones; ``None`` in ``shape`` stands for the batch."""
    return filled(as_shape(shape), 1, as_dtype(dtype))


def _fills() -> Iterable[Sample]:
    yield Sample(((2, 3), 2))
    yield Sample(((2, 3), True))
    yield Sample(((), 1.5), (("dtype", "float64"),))
    yield Sample((3, 1.5), (("dtype", "int32"),))


@function(samples=_fills, reference=np.full, section=SECTION)
def full(shape: Any, fill_value: Any, *, dtype: DTypeLike = None) -> Tensor:
    """Return ``fill_value``, a number or scalar Tensor, repeated to ``shape``."""
    return broadcast_to(asarray(fill_value, dtype=dtype), as_shape(shape))


def _likes() -> Iterable[Sample]:
    x = np.arange(6.0).reshape(2, 3)
    for value in (x, x[:0], x[0, 0], x.astype("int32")):
        yield Sample((value,), differentiable=False)
    yield Sample((x,), (("dtype", "int64"),), differentiable=False)


@function(samples=_likes, reference=np.zeros_like, section=SECTION)
def zeros_like(x: Any, *, dtype: DTypeLike = None) -> Tensor:
    """Return zeros of the shape and data type of ``x``."""
    return full_like(x, 0, dtype=dtype)


@function(samples=_likes, reference=np.ones_like, section=SECTION)
def ones_like(x: Any, *, dtype: DTypeLike = None) -> Tensor:
    """Return ones of the shape and data type of ``x``."""
    return full_like(x, 1, dtype=dtype)


def _full_likes() -> Iterable[Sample]:
    x = np.arange(6.0).reshape(2, 3)
    yield Sample((x, 2.5), differentiable=False)
    yield Sample((x.astype("int32"), 2), differentiable=False)


@function(samples=_full_likes, reference=np.full_like, section=SECTION)
def full_like(x: Any, fill_value: Any, *, dtype: DTypeLike = None) -> Tensor:
    """Return ``fill_value`` repeated to the shape of ``x``, in its data type."""
    t = as_tensor(x)
    return full(t.type.shape, fill_value, dtype=t.dtype if dtype is None else dtype)


def _ranges() -> Iterable[Sample]:
    for args in ((5,), (2, 7), (0, 10, 3), (5, 0, -2), (3, 3)):
        yield Sample(args)
    for steps in ((-2.9, 1, 1), (0, 5, 0.5), (0.5, 9.0, 2.5), (3.0, -3.0, -1.5)):
        yield Sample(steps, (("dtype", "int64"),))
    yield Sample((0.0, 1.0, 0.25), (("dtype", "float64"),))


@function(samples=_ranges, reference=np.arange, section=SECTION)
def arange(
    start: float, stop: float | None = None, step: float = 1, *, dtype: DTypeLike = None
) -> Tensor:
    """Return the numbers from ``start`` (or 0) up to but not including ``stop``.

    With an integer ``dtype``, floats are as in NumPy: the first two numbers lose their fraction,
    and differ by the step of all.
    """
    if step == 0:
        raise ArgumentError("Maximum allowed size exceeded: the step is 0")
    first, last = (0, start) if stop is None else (start, stop)
    integral = all(isinstance(v, (int, np.integer)) for v in (first, last, step))
    kind = as_dtype(dtype) if dtype is not None else INT64 if integral else FLOAT32
    values = converted(np.arange(first, last, step), kind)
    if kind.kind == "b" or (kind.kind == "i" and not integral):
        values = np.arange(first, last, step, dtype=kind)
    return constant(values)


def _lines() -> Iterable[Sample]:
    for args in ((0.0, 1.0, 5), (2, -1, 4), (0, 1, 1), (0, 1, 0)):
        yield Sample(args)
    yield Sample((0, 1, 4), (("endpoint", False), ("dtype", "float64")))
    yield Sample((-3, 50, 50), (("dtype", "int64"),))
    yield Sample((2.5, -7, 9), (("dtype", "int32"),))


@function(samples=_lines, reference=np.linspace, section=SECTION)
def linspace(
    start: float, stop: float, num: int, *, dtype: DTypeLike = FLOAT32, endpoint: bool = True
) -> Tensor:
    """Return ``num`` evenly spaced numbers from ``start`` to ``stop``.

    With an integer ``dtype`` they are rounded down.
    """
    kind = as_dtype(dtype)
    values = np.linspace(start, stop, index(num), endpoint=endpoint)
    return constant(np.floor(values) if kind.kind == "i" else values, kind)


def _identities() -> Iterable[Sample]:
    yield from (Sample(args) for args in ((3,), (2, 4), (0,), (1,)))
    yield from (Sample((3, 4), (("k", k),)) for k in (1, -2, 9))


@function(samples=_identities, reference=np.eye, section=SECTION)
def eye(
    n_rows: int, n_cols: int | None = None, *, k: int = 0, dtype: DTypeLike = FLOAT32
) -> Tensor:
    """Return a matrix with ones on diagonal ``k`` and zeros elsewhere."""
    columns = n_rows if n_cols is None else n_cols
    if n_rows < 0 or columns < 0:
        raise ShapeError("negative dimensions are not allowed")
    return constant(np.eye(n_rows, columns, k, dtype=as_dtype(dtype)))


def _values() -> Iterable[Sample]:
    x = np.arange(6.0).reshape(2, 3)
    yield from (Sample((value,)) for value in (x, x.astype("int32"), 3, True))
    yield Sample((x,), (("dtype", "int64"),))


@function(samples=_values, reference=np.asarray, section=SECTION)
def asarray(value: Any, *, dtype: DTypeLike = None) -> Tensor:
    """Return ``value`` (a Tensor, array or number) as a Tensor, converted to ``dtype``."""
    if not isinstance(value, Tensor):
        return constant(value, dtype)
    return value if dtype is None else cast(value, as_dtype(dtype))
