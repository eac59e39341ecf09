"""Change of shape without change of elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.layout import Axes, Layout
from graphc.ir.op import (
    TRANSPOSED,
    UNSEEN,
    Array,
    Linear,
    Notation,
    Sample,
    View,
    function,
    register,
    unbroadcast,
)
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import SIZE, Case, batching, grown
from graphc.ops.operands import as_tensor
from graphc.types import (
    AnyDim,
    Dim,
    Shape,
    TensorType,
    as_shape,
    broadcast_shapes,
    divided,
    normalize_axes,
    normalize_axis,
    shape_at,
    show_shape,
    size_of,
)

SECTION = "Shapes"


@register
@grown(shape=SIZE)
class Reshape(Linear, View):
    """The same elements in row-major order under another shape."""

    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.size != size_of(self.shape):
            raise ShapeError(
                f"cannot reshape array of shape {show_shape(x.shape)} into shape "
                f"{show_shape(self.shape)}"
            )
        return x.with_shape(self.shape)

    def numpy(self, *arrays: Array) -> Array:
        return np.reshape(arrays[0], shape_at(self.shape, 0))

    def notation(self, out: TensorType, *types: TensorType) -> Notation | None:
        (x,) = types
        if [d for d in x.shape if d != 1] != [d for d in out.shape if d != 1]:
            return None
        row = len(x.shape) == 1 and len(out.shape) == 2 and out.shape[0] == 1
        return TRANSPOSED if row else UNSEEN  # a vector is a column

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        if layout.is_contiguous(x.shape):
            return Layout.contiguous(out.shape)
        kept = [(d, s) for d, s in zip(x.shape, layout.strides, strict=True) if d != 1]
        if [d for d, _ in kept] != [d for d in out.shape if d != 1]:
            return None
        strides = iter(s for _, s in kept)
        return Layout(layout.offset, tuple(0 if d == 1 else next(strides) for d in out.shape))

    def groups(self, layout: Layout, x: TensorType, out: TensorType) -> tuple[Axes, ...] | None:
        left = [(d, s) for d, s in zip(x.shape, layout.strides, strict=True) if d != 1]
        result: list[Axes] = []
        for dim in out.shape:
            group: list[tuple[AnyDim, AnyDim]] = []
            while dim != 1 and left and size_of(d for d, _ in group) != dim:
                group.append(left.pop(0))
            if size_of(d for d, _ in group) != dim:
                return None  # an axis is split, or axes without elements are
            result.append(tuple(group) or ((dim, 0),))
        return None if left else tuple(result)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (reshape(g, inputs[0].type.shape),)


@register
@grown(axes=0)
class PermuteDims(Linear, View):
    """Axes in another order."""

    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if sorted(self.axes) != list(range(x.ndim)):
            raise ShapeError(f"axes {self.axes} don't match an array of dimension {x.ndim}")
        return x.with_shape(tuple(x.shape[a] for a in self.axes))

    def numpy(self, *arrays: Array) -> Array:
        return np.transpose(arrays[0], self.axes)

    def notation(self, out: TensorType, *types: TensorType) -> Notation | None:
        return TRANSPOSED if self.axes == (1, 0) else None

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        return Layout(layout.offset, tuple(layout.strides[a] for a in self.axes))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        inverse = tuple(sorted(range(g.ndim), key=self.axes.__getitem__))
        return (permute_dims(g, inverse),)


@register
class BroadcastTo(Linear, View):
    """Axes of length 1, and new axes in front, repeated to ``shape``."""

    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.ndim > len(self.shape) or broadcast_shapes(x.shape, self.shape) != self.shape:
            raise ShapeError(
                f"cannot broadcast shape {show_shape(x.shape)} to shape {show_shape(self.shape)}"
            )
        return x.with_shape(self.shape)

    def numpy(self, *arrays: Array) -> Array:
        return np.broadcast_to(arrays[0], shape_at(self.shape, 0))

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return UNSEEN

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        lead: tuple[AnyDim, ...] = (0,) * (out.ndim - x.ndim)
        own = zip(layout.strides, x.shape, out.shape[out.ndim - x.ndim :], strict=True)
        return Layout(layout.offset, lead + tuple(s if d == to else 0 for s, d, to in own))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (unbroadcast(g, inputs[0].type.shape),)


@batching(BroadcastTo)
def _broadcast(case: Case) -> Tensor:
    shape = case.node.type.shape
    return apply(BroadcastTo((case.size, *shape)), *case.aligned(len(shape)))


def _complete(shape: Sequence[Any], size: AnyDim) -> Shape:
    """Return ``shape`` with its one ``-1`` replaced by what is left of ``size``."""
    holes = [a for a, d in enumerate(shape) if isinstance(d, (int, np.integer)) and d == -1]
    if not holes:
        return as_shape(shape)
    if len(holes) > 1:
        raise ShapeError("can only specify one unknown dimension")
    known = as_shape([d for a, d in enumerate(shape) if a != holes[0]])
    rest = divided(size, size_of(known))
    if rest is None:
        raise ShapeError(f"cannot reshape array of size {size} into shape {tuple(shape)}")
    result = list(known)
    result.insert(holes[0], rest)
    return tuple(result)


def _dims(shape: Any) -> Sequence[Any]:
    """Return a user's shape as a sequence."""
    return (shape,) if shape is None or isinstance(shape, (int, np.integer, Dim)) else tuple(shape)


def _reshapes() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for shape in ((24,), (4, 6), (-1, 8), (2, -1, 2), (1, 24, 1), (2, 3, 4), -1):
        yield Sample((x, shape))
    yield Sample((x[:0], (0, 5)))
    yield Sample((np.array(2.0), (1, 1)))
    yield Sample((x[:1, :1, :1], ()))


@function(samples=_reshapes, reference=np.reshape, section=SECTION)
def reshape(x: Any, shape: Any) -> Tensor:
    """Return the elements of ``x`` in row-major order under ``shape``.

    One dimension may be -1 (what is left), and ``None`` stands for the batch.
    """
    t = as_tensor(x)
    target = _complete(_dims(shape), t.size)
    return t if target == t.type.shape else apply(Reshape(target), t)


def _flattenings() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    yield from (Sample((a,)) for a in (x, x[0, 0], x[0, 0, 0], x[:, :0]))


@function(samples=_flattenings, reference=np.ravel, section=SECTION)
def ravel(x: Any) -> Tensor:
    """Return the elements of ``x`` in row-major order along one axis."""
    t = as_tensor(x)
    return reshape(t, (t.size,))


def _permutations() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for axes in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (-1, 0, 1)):
        yield Sample((x, axes))
    yield Sample((x[:0], (1, 0, 2)))


@function(samples=_permutations, reference=np.transpose, section=SECTION)
def permute_dims(x: Any, axes: Sequence[int]) -> Tensor:
    """Return ``x`` with its axes in the order ``axes``."""
    t = as_tensor(x)
    order = tuple(normalize_axis(a, t.ndim) for a in axes)
    return t if order == tuple(range(t.ndim)) and t.ndim else apply(PermuteDims(order), t)


def _matrices() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    yield from (Sample((a,)) for a in (x, x[0], x[:, :0], x[:, :1]))


@function(samples=_matrices, reference=lambda x: np.swapaxes(x, -1, -2), section="Linear algebra")
def matrix_transpose(x: Any) -> Tensor:
    """Return ``x`` with its last two axes swapped."""
    t = as_tensor(x)
    if t.ndim < 2:
        raise ShapeError(f"input array must be at least 2-dimensional, but it is {t.ndim}")
    return swapaxes(t, -1, -2)


def _swaps() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    yield from (Sample((x, a, b)) for a, b in ((0, 2), (-1, 1), (1, 1)))


@function(samples=_swaps, reference=np.swapaxes, section=SECTION)
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Return ``x`` with two axes interchanged."""
    t = as_tensor(x)
    a, b = normalize_axis(axis1, t.ndim), normalize_axis(axis2, t.ndim)
    order = list(range(t.ndim))
    order[a], order[b] = b, a
    return permute_dims(t, order)


def _moves() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for source, to in ((0, -1), (-1, 0), (1, 1), ((0, 1), (-1, 0)), ((0, 2), (1, 0))):
        yield Sample((x, source, to))


@function(samples=_moves, reference=np.moveaxis, section=SECTION)
def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Return ``x`` with the axes ``source`` at ``destination``, the others in their order."""
    t = as_tensor(x)
    sources, targets = _axes_in_order(source, t.ndim), _axes_in_order(destination, t.ndim)
    if len(sources) != len(targets):
        raise ShapeError(
            "`source` and `destination` arguments must have the same number of elements"
        )
    order = [a for a in range(t.ndim) if a not in sources]
    for place, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(place, axis)
    return permute_dims(t, order)


def _axes_in_order(axis: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return distinct axes as given, each counted from the front."""
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    normalize_axes(axes, ndim)
    return tuple(normalize_axis(a, ndim) for a in axes)


def _expansions() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    yield from (Sample((x, axis)) for axis in (0, 1, 2, -1, -3, (0, -1), (1, 2)))
    yield Sample((np.array(2.0), 0))


@function(samples=_expansions, reference=np.expand_dims, section=SECTION)
def expand_dims(x: Any, axis: int | Sequence[int] = 0) -> Tensor:
    """Return ``x`` with new axes of length 1 at the places ``axis`` of the result."""
    t = as_tensor(x)
    count = 1 if isinstance(axis, (int, np.integer)) else len(axis)
    rank = t.ndim + count
    places = normalize_axes(axis, rank)
    dims = iter(t.type.shape)
    return reshape(t, tuple(1 if a in places else next(dims) for a in range(rank)))


def _squeezes() -> Iterable[Sample]:
    x = np.arange(6.0).reshape(1, 3, 1, 2)
    yield from (Sample((x, axis)) for axis in (0, 2, -2, (0, 2), None, ()))


@function(samples=_squeezes, reference=np.squeeze, section=SECTION)
def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Return ``x`` without the axes ``axis``, each of length 1 (default: all such axes)."""
    t = as_tensor(x)
    shape = t.type.shape
    ones = tuple(a for a, d in enumerate(shape) if d == 1)
    axes = ones if axis is None else normalize_axes(axis, t.ndim)
    if not set(axes) <= set(ones):
        raise ShapeError("cannot select an axis to squeeze out which has size not equal to one")
    return reshape(t, tuple(d for a, d in enumerate(shape) if a not in axes))


def _broadcasts() -> Iterable[Sample]:
    x = np.arange(3.0).reshape(3, 1)
    for shape in ((3, 4), (2, 3, 4), (3, 1), (3, 0)):
        yield Sample((x, shape))
    yield Sample((np.array(2.0), (2, 3)))


@function(samples=_broadcasts, reference=np.broadcast_to, section=SECTION)
def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Return ``x`` repeated to ``shape`` by NumPy's broadcasting rules."""
    t = as_tensor(x)
    target = as_shape(shape)
    return t if target == t.type.shape else apply(BroadcastTo(target), t)


def _several() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    yield Sample((x, x[0]))
    yield Sample((x[:, :1], x[:1], np.array(2.0)))


@function(samples=_several, reference=np.broadcast_arrays, section=SECTION)
def broadcast_arrays(*arrays: Any) -> tuple[Tensor, ...]:
    """Return all ``arrays`` repeated to their common shape."""
    ts = [as_tensor(a) for a in arrays]
    shape = broadcast_shapes(*[t.type.shape for t in ts])
    return tuple(broadcast_to(t, shape) for t in ts)


def _meshes() -> Iterable[Sample]:
    a, b, c = np.arange(3.0), np.arange(4.0), np.arange(2.0)
    for indexing in ("xy", "ij"):
        for arrays in ((a,), (a, b), (a, b, c)):
            yield Sample(arrays, (("indexing", indexing),))


@function(samples=_meshes, reference=np.meshgrid, section=SECTION)
def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Return the coordinates of the grid over one-dimensional ``arrays``, one tensor for each.

    ``indexing="xy"`` puts the first array along the second axis, ``"ij"`` along the first.
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError("Valid values for `indexing` are 'xy' and 'ij'.")
    ts = [as_tensor(a) for a in arrays]
    n = len(ts)
    order = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    columns = [
        reshape(t, (*(1,) * place, t.size, *(1,) * (n - place - 1)))
        for t, place in zip(ts, order, strict=True)
    ]
    return broadcast_arrays(*columns)
