"""Elements picked by integer arrays, and sums scattered to where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from graphc.convert import as_array, converted
from graphc.errors import DTypeError, IndexingError, ShapeError
from graphc.ir.op import (
    Access,
    Array,
    Composite,
    Emitter,
    Linear,
    Loops,
    Sample,
    function,
    register,
)
from graphc.ir.source import Constant, constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.comparison import equal, where
from graphc.ops.creation import extent, iota
from graphc.ops.loops import nest
from graphc.ops.operands import as_tensor
from graphc.ops.reduce import sum
from graphc.ops.shape import broadcast_to, ravel, reshape
from graphc.types import (
    INT64,
    AnyDim,
    Shape,
    TensorType,
    broadcast_shapes,
    dim_at,
    normalize_axis,
    shape_at,
)

SECTION = "Indexing"


class Indexed(Linear):
    """Mixin of an op whose second operand holds places along ``axis``.

    Negative places count from the end. All are checked before a parameter changes. One that the
    graph itself computes may be met before its check stops the step: kernels never leave the axis.
    """

    axis: int

    def indexed_length(self, *types: TensorType) -> AnyDim:
        """Return the length of the axis into which the operand points."""
        return types[0].shape[self.axis]

    def counts_from_end(self) -> bool:
        """Tell whether a negative place counts from the end; else it is an error."""
        return True

    def index_bounds(self, *types: TensorType) -> tuple[tuple[int, AnyDim, AnyDim], ...]:
        length = self.indexed_length(*types)
        return ((1, -length if self.counts_from_end() else 0, length),)


def _wrapped(index: Array, length: int, axis: int, wrap: bool = True) -> Array:
    """Return non-negative places, or raise as NumPy does; without ``wrap`` if one is negative."""
    wrong = (index < (-length if wrap else 0)) | (index >= length)
    if wrong.any():
        bad = index[wrong].flat[0]
        raise IndexingError(f"index {bad} is out of bounds for axis {axis} with size {length}")
    return np.where(index < 0, index + length, index)


def _lines(x: Array, first: int, count: int = 1) -> Array:
    """Return ``x`` in three axes: those before ``first``, ``count`` from there on, those behind.

    NumPy takes no index arrays of more than 32 axes, and does not say so.
    """
    shape, last = x.shape, first + count
    return x.reshape(prod(shape[:first]), prod(shape[first:last]), prod(shape[last:]))


def _place(e: Emitter, index: str, length: str) -> str:
    """Write the place inside the axis that ``index`` means and return its name.

    It is -1 only where the axis is empty.
    """
    e.line(f"at = int64({index})")
    e.line("if at < 0:")
    e.line(f"    at += {length}")
    last = str(int(length) - 1) if length.isdecimal() else f"{length} - 1"
    e.line(f"at = min(max(at, 0), {last})")
    return "at"


def _can_be_empty(x: Access, axis: int) -> bool:
    length = x.dims[axis]
    return not isinstance(length, int) or length == 0


def _read(e: Emitter, x: Access, axis: int, index: tuple[str, ...]) -> str:
    """Return the element of ``x`` as an expression, 0 if ``axis`` is empty."""
    element = x.at(*index)
    return f"{element} if at >= 0 else {e.lit(0, x.dtype)}" if _can_be_empty(x, axis) else element


def _add(e: Emitter, out: Access, axis: int, index: tuple[str, ...], value: str) -> None:
    """Write the addition of ``value`` to an element, none if ``axis`` is empty."""
    target = out.at(*index)
    if _can_be_empty(out, axis):
        e.line("if at >= 0:")
        e.line(f"    {target} += {value}")
    else:
        e.line(f"{target} += {value}")


@register
class Take(Indexed, Loops):
    """``x[..., indices, ...]``: the parts of ``x`` at places ``indices`` of ``axis``."""

    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        x, indices = types
        return x.with_shape((*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))

    def numpy(self, *arrays: Array) -> Array:
        x, indices = arrays
        return np.take(x, _wrapped(indices, x.shape[self.axis], self.axis), axis=self.axis)

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        x, indices = ins
        names = [f"i{k}" for k in range(len(out.shape))]
        split = self.axis + len(indices.shape)
        with nest(e, out, range(split), parallel=True):
            at = _place(e, indices.at(*names[self.axis : split]), x.shape[self.axis])
            with nest(e, out, range(split, len(names))):
                source = _read(e, x, self.axis, (*names[: self.axis], at, *names[split:]))
                e.line(f"{out.at(*names)} = {source}")

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, indices = inputs
        return apply(ScatterAdd(self.axis, x.type.shape), g, indices), None


@register
class ScatterAdd(Indexed, Loops):
    """Zeros of ``shape`` with each part of the operand added at its place along ``axis``.

    The transpose of :class:`Take`: equal indices add up, in their order.
    """

    axis: int
    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(self.shape)

    def indexed_length(self, *types: TensorType) -> AnyDim:
        return self.shape[self.axis]

    def numpy(self, *arrays: Array) -> Array:
        g, indices = arrays
        result = np.zeros(shape_at(self.shape, 0), g.dtype)
        places = _wrapped(indices, result.shape[self.axis], self.axis).reshape(-1)
        where: tuple[Any, ...] = (slice(None), places)
        np.add.at(_lines(result, self.axis), where, _lines(g, self.axis, indices.ndim))
        return result

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        # Parts of different leading axes never meet, so the first of those may be shared out.
        g, indices = ins
        names = [f"i{k}" for k in range(len(g.shape))]
        own = [f"i{k}" for k in range(len(out.shape))]
        split = self.axis + len(indices.shape)
        lead = min(self.axis, 1)
        with nest(e, g, range(lead), parallel=True):
            with nest(e, out, range(lead, len(own))):
                e.line(f"{out.at(*own)} = {e.lit(0, out.dtype)}")
            with nest(e, g, range(lead, split)):
                at = _place(e, indices.at(*names[self.axis : split]), out.shape[self.axis])
                with nest(e, g, range(split, len(names))):
                    place = (*names[: self.axis], at, *names[split:])
                    _add(e, out, self.axis, place, g.at(*names))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return apply(Take(self.axis), g, inputs[1]), None


@register
class TakeAlongAxis(Indexed, Loops):
    """``out[..., i, ...] = x[..., indices[..., i, ...], ...]`` along ``axis``."""

    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        x, indices = types
        return x.with_shape(indices.shape)

    def numpy(self, *arrays: Array) -> Array:
        x, indices = arrays
        places = _lines(_wrapped(indices, x.shape[self.axis], self.axis), self.axis)
        lines = np.take_along_axis(_lines(x, self.axis), places, 1)
        return lines.reshape(indices.shape)

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        x, indices = ins
        names = [f"i{k}" for k in range(len(out.shape))]
        with nest(e, out, range(len(names)), parallel=True):
            at = _place(e, indices.at(*names), x.shape[self.axis])
            place = (*names[: self.axis], at, *names[self.axis + 1 :])
            e.line(f"{out.at(*names)} = {_read(e, x, self.axis, place)}")

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, indices = inputs
        return apply(ScatterAddAlongAxis(self.axis, x.type.shape[self.axis]), g, indices), None


@register
class ScatterAddAlongAxis(Indexed, Loops):
    """Zeros, of ``length`` along ``axis``, with each element added at its place there.

    The transpose of :class:`TakeAlongAxis`.
    """

    axis: int
    length: AnyDim

    def infer(self, *types: TensorType) -> TensorType:
        (g, _) = types
        return g.with_shape((*g.shape[: self.axis], self.length, *g.shape[self.axis + 1 :]))

    def indexed_length(self, *types: TensorType) -> AnyDim:
        return self.length

    def numpy(self, *arrays: Array) -> Array:
        g, indices = arrays
        shape = self.infer(TensorType(g.dtype, g.shape), TensorType(g.dtype, g.shape)).shape
        result = np.zeros(shape_at(shape, 0), g.dtype)
        places = _lines(_wrapped(indices, result.shape[self.axis], self.axis), self.axis)
        where: list[Any] = list(np.indices(places.shape, sparse=True))
        where[1] = places
        np.add.at(_lines(result, self.axis), tuple(where), _lines(g, self.axis))
        return result

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        # Lines along the axis are independent: the first other axis may be shared out.
        g, indices = ins
        names = [f"i{k}" for k in range(len(out.shape))]
        others = [k for k in range(len(names)) if k != self.axis]
        rest = [k for k in range(len(names)) if k not in others[:1]]
        with nest(e, g, others[:1], parallel=True):
            with nest(e, out, rest):
                e.line(f"{out.at(*names)} = {e.lit(0, out.dtype)}")
            with nest(e, g, rest):
                at = _place(e, indices.at(*names), out.shape[self.axis])
                place = (*names[: self.axis], at, *names[self.axis + 1 :])
                _add(e, out, self.axis, place, g.at(*names))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return apply(TakeAlongAxis(self.axis), g, inputs[1]), None


@register
class Pick(Indexed, Composite):
    """One element of each line along ``axis``: :class:`TakeAlongAxis` with a single index.

    It expands to a masked sum, which shares loops with what is around it; the mask selects,
    so that NaN and infinity elsewhere in the line do not matter.
    """

    axis: int
    wrap: bool = True
    """Negative indices count from the end; else they are an error."""

    def counts_from_end(self) -> bool:
        return self.wrap

    def infer(self, *types: TensorType) -> TensorType:
        x, indices = types
        return x.with_shape(indices.shape)

    def numpy(self, *arrays: Array) -> Array:
        x, indices = arrays
        places = _wrapped(indices, x.shape[self.axis], self.axis, self.wrap)
        return TakeAlongAxis(self.axis).numpy(x, places)

    def expand(self, *inputs: Tensor) -> Tensor:
        x, indices = inputs
        mask = _one_hot_mask(x.type.shape[self.axis], indices, self.axis, self.wrap)
        return sum(where(mask, x, 0), axis=self.axis, keepdims=True)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, indices = inputs
        return apply(Place(self.axis, x.type.shape[self.axis], self.wrap), g, indices), None


@register
class Place(Indexed, Composite):
    """Zeros, of ``length`` along ``axis``, with one element of each line set at its place.

    The transpose of :class:`Pick`.
    """

    axis: int
    length: AnyDim
    wrap: bool = True

    def counts_from_end(self) -> bool:
        return self.wrap

    def infer(self, *types: TensorType) -> TensorType:
        return ScatterAddAlongAxis(self.axis, self.length).infer(*types)

    def indexed_length(self, *types: TensorType) -> AnyDim:
        return self.length

    def numpy(self, *arrays: Array) -> Array:
        g, indices = arrays
        places = _wrapped(indices, dim_at(self.length, 0), self.axis, self.wrap)
        return ScatterAddAlongAxis(self.axis, self.length).numpy(g, places)

    def expand(self, *inputs: Tensor) -> Tensor:
        g, indices = inputs
        return where(_one_hot_mask(self.length, indices, self.axis, self.wrap), g, 0)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return apply(Pick(self.axis, self.wrap), g, inputs[1]), None


def _one_hot_mask(length: AnyDim, indices: Tensor, axis: int, wrap: bool) -> Tensor:
    """Return which of ``length`` elements of each line ``indices`` point at, one in each."""
    size = extent(length, indices.dtype)
    places = where(indices < 0, indices + size, indices) if wrap else indices
    shape = tuple(length if a == axis else 1 for a in range(indices.ndim))
    return equal(iota(shape, axis, indices.dtype), places)


def as_indices(value: Any) -> Tensor:
    """Return ``value`` as an integer tensor, or raise in NumPy's words."""
    array = value if isinstance(value, Tensor) else as_array(value)
    if not isinstance(array, Tensor) and array.size == 0 and isinstance(value, list):
        array = array.astype(INT64)  # NumPy makes [] an array of floats
    if not isinstance(array, Tensor) and array.dtype.kind in "uO":
        array = converted(array, INT64)
    if array.dtype.kind == "b":
        raise DTypeError(
            "the size of a boolean mask's result depends on the data; use gx.where instead"
        )
    if array.dtype.kind != "i":
        raise IndexingError(f"arrays used as indices must be of integer type, not {array.dtype}")
    return array if isinstance(array, Tensor) else constant(array)


def _check_bounds(indices: Tensor, length: AnyDim, axis: int) -> None:
    """Raise :class:`IndexingError` if a constant index is surely outside the axis."""
    if isinstance(length, int) and isinstance(indices.op, Constant):
        _wrapped(indices.op.value.array, length, axis)


def _takes() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for axis in (0, 1, -1):
        for places in ([1, 0, -1, 1], [[1], [-2]], 1, []):
            yield Sample((x, np.array(places, int)), (("axis", axis),))
    yield Sample((x, np.array([3, -24], np.int32)))


@function(samples=_takes, reference=np.take, section=SECTION)
def take(x: Any, indices: Any, *, axis: int | None = None) -> Tensor:
    """Return the parts of ``x`` at integer places ``indices`` of ``axis`` (None: of flat ``x``).

    Negative indices count from the end; one out of range raises an IndexError when declared,
    or when the function is called.
    """
    t, i = as_tensor(x) if axis is not None else ravel(x), as_indices(indices)
    if not t.ndim:
        raise IndexingError("cannot take from a scalar")
    place = normalize_axis(0 if axis is None else axis, t.ndim)
    _check_bounds(i, t.type.shape[place], place)
    return apply(Take(place), t, i)


def _takes_along() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    rng = np.random.default_rng(0)
    for axis in range(3):
        for count in (0, 1, 5):
            shape = [*x.shape[:axis], count, *x.shape[axis + 1 :]]
            yield Sample((x, rng.integers(-x.shape[axis], x.shape[axis], shape), axis))
    yield Sample((x, np.array([[[1], [0], [-1]]]), -1))
    yield Sample((x[:1], np.array([[[1, 1]], [[0, -1]]]), -1))


def pick(x: Tensor, labels: Tensor, axis: int) -> Tensor:
    """Return the element of each line along ``axis`` that ``labels`` name, without that axis.

    ``labels`` has the shape of ``x`` without ``axis``. One outside ``[0, length)`` raises an
    IndexError: a class has no negative number.
    """
    place = normalize_axis(axis, x.ndim)
    shape = (*labels.type.shape[:place], 1, *labels.type.shape[place:])
    picked = apply(Pick(place, False), x, reshape(labels, shape))
    return reshape(picked, labels.type.shape)


@function(samples=_takes_along, reference=np.take_along_axis, section=SECTION)
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """Return ``x[..., indices[..., i, ...], ...]``; the other axes broadcast.

    Negative indices count from the end; one out of range raises an IndexError when declared,
    or when the function is called.
    """
    t, i = as_tensor(x), as_indices(indices)
    if t.ndim != i.ndim:
        raise ShapeError("`indices` and `arr` must have the same number of dimensions")
    place = normalize_axis(axis, t.ndim)
    _check_bounds(i, t.type.shape[place], place)

    def around(shape: Shape, dim: AnyDim) -> Shape:
        return (*shape[:place], dim, *shape[place + 1 :])

    others = broadcast_shapes(around(t.type.shape, 1), around(i.type.shape, 1))
    t = broadcast_to(t, around(others, t.type.shape[place]))
    i = broadcast_to(i, around(others, i.type.shape[place]))
    return apply(Pick(place) if i.type.shape[place] == 1 else TakeAlongAxis(place), t, i)
