"""Elements picked along an axis, by places of their own in each line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Access, Array, Composite, Emitter, Loops, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import grown
from graphc.ops.comparison import equal, where
from graphc.ops.creation import extent, iota
from graphc.ops.gather import (
    SECTION,
    Indexed,
    add,
    as_indices,
    as_lines,
    check_bounds,
    read,
    wrapped,
    write_places,
)
from graphc.ops.loops import nest, places
from graphc.ops.operands import as_tensor
from graphc.ops.reduce import sum
from graphc.ops.shape import broadcast_to, reshape
from graphc.types import (
    AnyDim,
    Shape,
    TensorType,
    broadcast_shapes,
    dim_at,
    normalize_axis,
    shape_at,
)


@register
@grown()
class TakeAlongAxis(Indexed, Loops):
    """``out[..., i, ...] = x[..., indices[..., i, ...], ...]`` along ``axis``."""

    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        x, indices = types
        return x.with_shape(indices.shape)

    def numpy(self, *arrays: Array) -> Array:
        x, indices = arrays
        places = as_lines(wrapped(indices, x.shape[self.axis], self.axis), self.axis)
        lines = np.take_along_axis(as_lines(x, self.axis), places, 1)
        return lines.reshape(indices.shape)

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        x, indices = ins
        names = places(out)
        with nest(e, out, range(len(names)), parallel=True):
            at = write_places(e, [indices], names, x.shape[self.axis :])
            place = (*names[: self.axis], *at, *names[self.axis + 1 :])
            read(e, out.at(*names), x, at, self.axis, place)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, indices = inputs
        return apply(ScatterAddAlongAxis(self.axis, x.type.shape[self.axis]), g, indices), None


@register
@grown()
class ScatterAddAlongAxis(Indexed, Loops):
    """Zeros, of ``length`` along ``axis``, with each element added at its place there.

    The transpose of :class:`TakeAlongAxis`.
    """

    axis: int
    length: AnyDim

    def infer(self, *types: TensorType) -> TensorType:
        (g, _) = types
        return g.with_shape((*g.shape[: self.axis], self.length, *g.shape[self.axis + 1 :]))

    def indexed_lengths(self, *types: TensorType) -> Shape:
        return (self.length,)

    def numpy(self, *arrays: Array) -> Array:
        g, indices = arrays
        shape = self.infer(TensorType(g.dtype, g.shape), TensorType(g.dtype, g.shape)).shape
        result = np.zeros(shape_at(shape, 0), g.dtype)
        places = as_lines(wrapped(indices, result.shape[self.axis], self.axis), self.axis)
        where: list[Any] = list(np.indices(places.shape, sparse=True))
        where[1] = places
        np.add.at(as_lines(result, self.axis), tuple(where), as_lines(g, self.axis))
        return result

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        # Lines along the axis are independent: the first other axis may be shared out.
        g, indices = ins
        names = places(out)
        others = [k for k in range(len(names)) if k != self.axis]
        rest = [k for k in range(len(names)) if k not in others[:1]]
        with nest(e, g, others[:1], parallel=True):
            with nest(e, out, rest):
                e.store(out.at(*names), e.lit(0, out.dtype))
            with nest(e, g, rest):
                at = write_places(e, [indices], names, out.shape[self.axis :])
                place = (*names[: self.axis], *at, *names[self.axis + 1 :])
                add(e, out, at, self.axis, place, g.at(*names))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return apply(TakeAlongAxis(self.axis), g, inputs[1]), None


@register
@grown()
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
        places = wrapped(indices, x.shape[self.axis], self.axis, self.wrap)
        return TakeAlongAxis(self.axis).numpy(x, places)

    def expand(self, *inputs: Tensor) -> Tensor:
        x, indices = inputs
        mask = _one_hot_mask(x.type.shape[self.axis], indices, self.axis, self.wrap)
        return sum(where(mask, x, 0), axis=self.axis, keepdims=True)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, indices = inputs
        return apply(Place(self.axis, x.type.shape[self.axis], self.wrap), g, indices), None


@register
@grown()
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

    def indexed_lengths(self, *types: TensorType) -> Shape:
        return (self.length,)

    def numpy(self, *arrays: Array) -> Array:
        g, indices = arrays
        places = wrapped(indices, dim_at(self.length, 0), self.axis, self.wrap)
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


def pick(x: Tensor, labels: Tensor, axis: int) -> Tensor:
    """Return the element of each line along ``axis`` that ``labels`` name, without that axis.

    ``labels`` has the shape of ``x`` without ``axis``. One outside ``[0, length)`` raises an
    IndexError: a class has no negative number.
    """
    place = normalize_axis(axis, x.ndim)
    shape = (*labels.type.shape[:place], 1, *labels.type.shape[place:])
    picked = apply(Pick(place, False), x, reshape(labels, shape))
    return reshape(picked, labels.type.shape)


def _takes_along() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    rng = np.random.default_rng(0)
    for axis in range(3):
        for count in (0, 1, 5):
            shape = [*x.shape[:axis], count, *x.shape[axis + 1 :]]
            yield Sample((x, rng.integers(-x.shape[axis], x.shape[axis], shape), axis))
    yield Sample((x, np.array([[[1], [0], [-1]]]), -1))
    yield Sample((x[:1], np.array([[[1, 1]], [[0, -1]]]), -1))


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
    check_bounds(i, t.type.shape[place], place)

    def around(shape: Shape, dim: AnyDim) -> Shape:
        return (*shape[:place], dim, *shape[place + 1 :])

    others = broadcast_shapes(around(t.type.shape, 1), around(i.type.shape, 1))
    t = broadcast_to(t, around(others, t.type.shape[place]))
    i = broadcast_to(i, around(others, i.type.shape[place]))
    return apply(Pick(place) if i.type.shape[place] == 1 else TakeAlongAxis(place), t, i)
