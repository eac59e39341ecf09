"""Elements replaced, added to or compared with at places that integers name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Access, Array, Emitter, Loops, Sample, add_all, function, register
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Value, vmath
from graphc.ops.along import ScatterAddAlongAxis, take_along_axis
from graphc.ops.batched import grown
from graphc.ops.cast import cast
from graphc.ops.comparison import equal, where
from graphc.ops.creation import full_like, iota_along, zeros_like
from graphc.ops.gather import (
    SECTION,
    as_indices,
    as_lines,
    check_bounds,
    inside,
    take,
    wrapped,
    write_places,
)
from graphc.ops.loops import nest, places
from graphc.ops.operands import common
from graphc.ops.shape import broadcast_to, ravel, reshape
from graphc.types import (
    INT64,
    AnyDim,
    TensorType,
    broadcast_shapes,
    normalize_axis,
    show_shape,
)


@grown()
class AtPlaces(Loops):
    """The first operand, changed by the third at places along ``axis`` that the second names.

    All three have one shape but for ``axis``. Changes are made one after the other, in the order of
    the places; threads share out lines.
    """

    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        x, indices, updates = types
        if indices.shape != updates.shape:
            raise ShapeError(f"places of shape {indices} and updates {updates} need one shape")
        return x

    def index_bounds(self, *types: TensorType) -> tuple[tuple[int, AnyDim, AnyDim], ...]:
        length = types[0].shape[self.axis]
        return ((1, -length, length),)

    def numpy(self, *arrays: Array) -> Array:
        x, indices, updates = arrays
        result = x.copy()
        lines, own = as_lines(result, self.axis), as_lines(indices, self.axis)
        changes = as_lines(updates, self.axis)
        for k, at in enumerate(wrapped(own, x.shape[self.axis], self.axis).swapaxes(0, 1)):
            before = np.take_along_axis(lines, at[:, None], 1)
            after = type(self).change(before, changes[:, k : k + 1])
            np.put_along_axis(lines, at[:, None], after, 1)
        return result

    @staticmethod
    def change(before: Array, update: Array) -> Array:
        """Return what an update makes of elements."""
        return update

    def changed(self, before: Value, update: Value) -> Value:
        """Return what an update makes of an element."""
        return update

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        x, indices, updates = ins
        names = places(out)
        others = [k for k in range(len(names)) if k != self.axis]
        rest = [k for k in range(len(names)) if k not in others[:1]]
        with nest(e, x, others[:1], parallel=True):
            with nest(e, out, rest):
                e.store(out.at(*names), x.at(*names))
            with nest(e, indices, rest):
                at = write_places(e, [indices], names, out.shape[self.axis :])
                target = out.at(*names[: self.axis], *at, *names[self.axis + 1 :])
                value = self.changed(target.load(out.dtype), updates.at(*names).load(out.dtype))
                exists = inside(out, at, self.axis)
                if exists is None:
                    e.store(target, value)
                else:
                    with e.when(exists):
                        e.store(target, value)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[1].size


@register
class PutAlongAxis(AtPlaces):
    """The operand with elements replaced; of equal places, the last one's update stays.

    Linear in both: the cotangent of an update is that of its place if it stayed, else 0.
    """

    axis: int

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        _, indices, updates = inputs
        number = broadcast_to(iota_along(updates, self.axis), updates.type.shape)
        last = apply(self, full_like(out, -1, dtype=INT64), indices, number)
        stays = equal(take_along_axis(last, indices, self.axis), number)
        back = where(stays, take_along_axis(g, indices, self.axis), 0)
        return apply(self, g, indices, zeros_like(updates)), None, back

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (x, indices, updates), (tx, _, tu) = inputs, tangents
        if tx is None and tu is None:
            return None
        tx, tu = (zeros_like(v) if t is None else t for t, v in ((tx, x), (tu, updates)))
        return apply(self, tx, indices, tu)


class Extreme(AtPlaces):
    """The extreme of an element and all updates of its place; equals share the derivative."""

    axis: int
    function: ClassVar[str]

    def changed(self, before: Value, update: Value) -> Value:
        return vmath(self.function, before, update)

    def _shares(self, out: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what part of the derivative falls to each element and to each update."""
        x, indices, updates = inputs
        ours = cast(equal(x, out), x.dtype)
        theirs = cast(equal(updates, take_along_axis(out, indices, self.axis)), x.dtype)
        back = ScatterAddAlongAxis(self.axis, x.type.shape[self.axis])
        count = ours + apply(back, theirs, indices)
        count = where(equal(count, 0), 1, count)  # of NaN nothing is found
        return ours / count, theirs / take_along_axis(count, indices, self.axis)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        ours, theirs = self._shares(out, *inputs)
        return g * ours, None, take_along_axis(g, inputs[1], self.axis) * theirs

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (x, indices, _), (tx, _, tu) = inputs, tangents
        ours, theirs = self._shares(out, *inputs)
        back = ScatterAddAlongAxis(self.axis, x.type.shape[self.axis])
        parts = [] if tx is None else [tx * ours]
        parts += [] if tu is None else [apply(back, tu * theirs, indices)]
        return add_all(parts)


@register
class LeastAlongAxis(Extreme):
    """The least of an element and all updates of its place; NaN if one of them is."""

    axis: int
    function = "minimum"

    @staticmethod
    def change(before: Array, update: Array) -> Array:
        return np.asarray(np.minimum(before, update))


@register
class GreatestAlongAxis(Extreme):
    """The greatest of an element and all updates of its place; NaN if one of them is."""

    axis: int
    function = "maximum"

    @staticmethod
    def change(before: Array, update: Array) -> Array:
        return np.asarray(np.maximum(before, update))


def _scattered(
    what: str, x: Any, indices: Any, updates: Any, axis: int
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return the operands of one type, places and updates of one shape, and the axis."""
    t, u = common(what, x, updates)
    i = as_indices(indices)
    place = normalize_axis(axis, t.ndim)
    if i.ndim != t.ndim:
        raise ShapeError(
            f"{what}: the operand {t.describe()} and the indices {i.describe()} need as many axes"
        )
    check_bounds(i, t.type.shape[place], place)
    shape = list(t.type.shape)
    shape[place] = i.type.shape[place]
    try:
        grown = broadcast_shapes(i.type.shape, tuple(shape))
        fits = grown == tuple(shape) and broadcast_shapes(u.type.shape, grown) == grown
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{what}: the indices {i.describe()} and the updates {u.describe()} must broadcast to "
            f"{show_shape(shape)}, the shape of {t.describe()} with as many elements along axis "
            f"{axis} as there are indices"
        )
    return t, broadcast_to(i, grown), broadcast_to(u, grown), place


def _changes() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    x = rng.permutation(24).reshape(2, 3, 4).astype(float)
    for axis in range(3):
        for count in (5, 1, 0):
            shape = [*x.shape[:axis], count, *x.shape[axis + 1 :]]
            places = rng.integers(-x.shape[axis], x.shape[axis], shape)
            updates = rng.permutation(prod(shape)).reshape(shape) + 0.5
            yield Sample((x, places, updates), (("axis", axis),))
    yield Sample((x, np.array([[[1], [0], [-1]]]), 100.5))
    yield Sample((x[0, 0], np.array([1, 3, 1]), np.array([7.5, 8.5, 9.5])))
    yield Sample((np.array([5, 1, 2]), np.array([1, 1]), np.array([4, 3])))


def _by(ufunc: Any) -> Any:
    """Return the reference of a scatter that changes elements by a function."""

    def reference(x: Any, indices: Any, updates: Any, axis: int = -1) -> Array:
        dtype = np.result_type(x, updates)
        result = np.array(x, dtype)
        shape = list(result.shape)
        shape[axis] = np.shape(indices)[axis]
        where: list[Any] = list(np.indices(shape, sparse=True))
        where[axis] = np.broadcast_to(np.asarray(indices, INT64), shape)
        ufunc(result, tuple(where), np.broadcast_to(np.asarray(updates, dtype), shape))
        return result

    return reference


def _put(x: Array, where: Any, values: Array) -> None:
    x[where] = values


@function(samples=_changes, reference=_by(_put), section=SECTION)
def scatter(x: Any, indices: Any, updates: Any, axis: int = -1) -> Tensor:
    """Return ``x`` with ``x[..., indices[..., i, ...], ...] = updates[..., i, ...]``, at ``axis``.

    The counterpart of :func:`take_along_axis`: indices and updates broadcast to the shape of
    ``x`` but for ``axis``. Of equal places the last one stays, and has the derivative. Negative
    indices count from the end; one out of range raises an IndexError.
    """
    t, i, u, place = _scattered("scatter", x, indices, updates, axis)
    return apply(PutAlongAxis(place), t, i, u)


@function(samples=_changes, reference=_by(_put), section=SECTION)
def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Tensor:
    """Return ``x`` with elements replaced along ``axis``: NumPy's name for :func:`scatter`."""
    t, i, u, place = _scattered("put_along_axis", x, indices, values, axis)
    return apply(PutAlongAxis(place), t, i, u)


@function(samples=_changes, reference=_by(np.add.at), section=SECTION)
def scatter_add(x: Any, indices: Any, updates: Any, axis: int = -1) -> Tensor:
    """Return ``x`` with ``updates`` added at places along ``axis``, as :func:`scatter` has them.

    Those of equal places add up.
    """
    t, i, u, place = _scattered("scatter_add", x, indices, updates, axis)
    return t + apply(ScatterAddAlongAxis(place, t.type.shape[place]), u, i)


@function(samples=_changes, reference=_by(np.minimum.at), section=SECTION)
def scatter_min(x: Any, indices: Any, updates: Any, axis: int = -1) -> Tensor:
    """Return the least of each element and the ``updates`` at its place; see :func:`scatter`.

    Equal ones share the derivative, as in PyTorch's `scatter_reduce`.
    """
    t, i, u, place = _scattered("scatter_min", x, indices, updates, axis)
    return apply(LeastAlongAxis(place), t, i, u)


@function(samples=_changes, reference=_by(np.maximum.at), section=SECTION)
def scatter_max(x: Any, indices: Any, updates: Any, axis: int = -1) -> Tensor:
    """Return the greatest of each element and the ``updates`` at its place.

    Equal ones share the derivative; see :func:`scatter_min`.
    """
    t, i, u, place = _scattered("scatter_max", x, indices, updates, axis)
    return apply(GreatestAlongAxis(place), t, i, u)


def _puts() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    yield Sample((x, np.array([[0, -1], [5, 0]]), np.array([1.5, 2.5, 3.5, 4.5])))
    yield Sample((x, np.array([3, 1, 2]), np.array([1.5, 2.5])))
    yield Sample((x, np.array([3]), 7.0))
    yield Sample((np.array([1, 2]), np.array([0]), np.array([9])))


def _numpy_put(x: Any, indices: Any, values: Any) -> Array:
    result = np.array(x, np.result_type(x, values))
    np.put(result, np.asarray(indices, INT64), values)
    return result


@function(samples=_puts, reference=_numpy_put, section=SECTION)
def put(x: Any, indices: Any, values: Any) -> Tensor:
    """Return ``x`` with ``values`` at places ``indices`` of flat ``x``; the last of equals stays.

    Values that are fewer than the places begin again, as in ``numpy.put``.
    """
    t, u = common("put", x, values)
    i, flat = ravel(as_indices(indices)), ravel(u)
    count, given = i.type.size, flat.type.size
    if given != count:
        if not isinstance(count, int) or not isinstance(given, int) or not given:
            raise ShapeError(f"put: {u.describe()} and {i.describe()} need one number of elements")
        flat = take(flat, constant(np.arange(count) % given), axis=0)
    return reshape(scatter(ravel(t), i, flat, 0), t.type.shape)
