"""Parts of a tensor changed in their places: added to, replaced, and put together beforehand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Access, Array, Emitter, Loops, Sample, function, register
from graphc.ir.results import Multiple, results
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, Name, select
from graphc.ops.comparison import equal, where
from graphc.ops.creation import extent, iota_along, zeros_like
from graphc.ops.gather import (
    SECTION,
    Change,
    Indexed,
    Owner,
    ScatterAdd,
    Take,
    _flat,
    add,
    as_indices,
    as_lines,
    check_bounds,
    put,
)
from graphc.ops.loops import nest, places
from graphc.ops.operands import common
from graphc.ops.shape import broadcast_to, expand_dims, ravel, reshape
from graphc.ops.sorting import Sorted
from graphc.types import (
    INT64,
    AnyDim,
    Several,
    Shape,
    TensorType,
    normalize_axis,
    show_shape,
)


class Parts(Indexed, Loops):
    """The first operand, with parts at places along ``axis`` changed by those of the second.

    The operands behind, of one shape, hold the places along ``axis`` and those behind it.
    """

    axis: int
    changes = True

    def indexed_lengths(self, *types: TensorType) -> Shape:
        return types[0].shape[self.axis : self.axis + len(types) - 2]

    def index_bounds(self, *types: TensorType) -> tuple[tuple[int, AnyDim, AnyDim], ...]:
        lengths = enumerate(self.indexed_lengths(*types), 2)
        return tuple((position, -n, n) for position, n in lengths)

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    @abstractmethod
    def change(self) -> Change:
        """Return what writes the change of an element."""

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        owner = Owner(e, out, self.axis, len(ins) - 2)
        with owner.lines():
            owner.change(*ins[1:], change=self.change(), skips=self.passes_by())

    def passes_by(self) -> bool:
        """Tell whether a negative place is none; else it counts from the end."""
        return False

    def read(self, out: TensorType, *types: TensorType) -> AnyDim:
        return sum((t.nbytes for t in types[1:]), start=0)

    def written(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[1].nbytes

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[1].size

    def _lines(self, arrays: Sequence[Array]) -> tuple[Array, Array, Array, Array]:
        """Return a copy of the first operand, it and the updates by lines, and the places."""
        x, updates, *indices = arrays
        result = x.copy()
        lines = as_lines(result, self.axis, len(indices))
        where = _flat(indices, x.shape[self.axis :], self.axis).reshape(-1)
        return result, lines, as_lines(updates, self.axis, indices[0].ndim), where


@register
class AddAt(Parts):
    """The operand with parts added at their places; equal ones add up, in their order."""

    axis: int

    def change(self) -> Change:
        return add

    def numpy(self, *arrays: Array) -> Array:
        result, lines, updates, at = self._lines(arrays)
        np.add.at(lines, (slice(None), at), updates)  # type: ignore[arg-type]
        return result

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        _, _, *indices = inputs
        return g, apply(Take(self.axis), g, *indices), *(None for _ in indices)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        x, u, *_ = tangents
        indices = inputs[2:]
        if u is None:
            return x
        if x is None:
            return apply(ScatterAdd(self.axis, out.type.shape), u, *indices)
        return apply(self, x, u, *indices)


@register
class PutAt(Parts):
    """The operand with parts replaced at their places; of equal ones, the last stays.

    With ``skips`` a negative place is none, else it counts from the end.
    """

    axis: int
    skips: bool = False

    def change(self) -> Change:
        return put

    def passes_by(self) -> bool:
        return self.skips

    def numpy(self, *arrays: Array) -> Array:
        x, updates, *indices = arrays
        if self.skips:
            kept = indices[0] >= 0
            (at,) = (i[kept] for i in indices)
            return PutAt(self.axis).numpy(x, updates[(slice(None),) * self.axis + (kept,)], at)
        result, lines, parts, at = self._lines(arrays)
        for k, place in enumerate(at):
            lines[:, place] = parts[:, k]
        return result

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        _, updates, *indices = inputs
        back, stays = apply(Take(self.axis), g, *indices), self._stays(out, *indices)
        behind = range(self.axis + stays.ndim, updates.ndim)
        mask = expand_dims(stays, (*range(self.axis), *behind))
        own = apply(self, g, zeros_like(updates), *indices)
        return own, where(mask, back, 0), *(None for _ in indices)

    def _stays(self, out: Tensor, *indices: Tensor) -> Tensor:
        """Return for which places no later one is equal."""
        lengths = out.type.shape[self.axis : self.axis + len(indices)]
        flat = ravel(indices[0])
        number = reshape(iota_along(flat, 0), indices[0].type.shape)
        before = broadcast_to(constant(np.array(-1, INT64)), lengths)
        last = apply(PutAt(0), before, number, *indices)
        return equal(apply(Take(0), last, *indices), number)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        x, u, *_ = tangents
        if x is None and u is None:
            return None
        x = zeros_like(inputs[0]) if x is None else x
        u = zeros_like(inputs[1]) if u is None else u
        return apply(self, x, u, *inputs[2:])


@register
class Coalesced(Multiple, Loops):
    """Places without repetition, and for each the sum of the rows of that place.

    The operands are places in ascending order, where each stood before, and the rows. What is left
    over, as there are fewer places than before, has place -1 and sum 0.
    """

    def infer(self, *types: TensorType) -> TensorType:
        at, _, rows = types
        return Several.of([at.with_dtype(INT64), rows])

    def numpy(self, *arrays: Array) -> Any:
        at, order, rows = arrays
        unique, slot = np.unique(at, return_inverse=True)
        place, sums = np.full(at.shape, -1, INT64), np.zeros_like(rows)
        place[: len(unique)] = unique
        np.add.at(sums, slot.reshape(-1), rows[order])
        return place, sums

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        at, order, rows = ins
        place, sums = out
        names = places(rows)
        e.let("slot", Integer(-1))
        e.let("before", Integer(-1))
        slot, before, behind = Name("slot"), Name("before"), range(1, len(names))
        with nest(e, at, [0]):
            e.store(place.at(names[0]), Integer(-1))
            own = e.let("own", at.at(names[0]).cast(INT64))
            source = e.let("source", order.at(names[0]))
            first = own.differs(before)
            e.let("slot", slot + select(first, Integer(1), Integer(0)))
            with e.when(first):
                e.store(place.at(slot), own)
                with nest(e, rows, behind):
                    e.store(sums.at(slot, *names[1:]), rows.at(source, *names[1:]))
            with e.when(own.equals(before)), nest(e, rows, behind):
                target = sums.at(slot, *names[1:])
                e.store(target, target + rows.at(source, *names[1:]))
            e.let("before", own)
        with e.loop("i0", at.shape[0], slot + 1), nest(e, rows, behind):
            e.store(sums.at(*names), e.lit(0, sums.dtype))

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[2].size


def coalesced(indices: Tensor, rows: Tensor, length: AnyDim) -> tuple[Tensor, Tensor]:
    """Return places of an axis of ``length`` without repetition, and what they sum up to.

    ``indices`` is ``(n,)`` and ``rows`` ``(n, ...)``; so are the results, with places in ascending
    order, then -1, whose rows are zero.
    """
    own = where(indices < 0, indices + extent(length, indices.dtype), indices)
    at, order, *_ = results(apply(Sorted(), own))
    place, sums = results(apply(Coalesced(), at, order, rows))
    return place, sums


def _parts_of(
    what: str, x: Any, indices: Any, updates: Any, axis: int
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return the operand and the updates in one type, the places, and the axis; or raise."""
    t, u = common(what, x, updates)
    i = as_indices(indices)
    place = normalize_axis(axis, t.ndim)
    check_bounds(i, t.type.shape[place], place)
    shape = t.type.shape
    wanted = (*shape[:place], *i.type.shape, *shape[place + 1 :])
    if u.type.shape != wanted:
        raise ShapeError(
            f"{what}: the updates {u.describe()} need the shape {show_shape(wanted)}, that of "
            f"the parts of {t.describe()} along axis {axis} at {i.describe()}"
        )
    return t, u, i, place


def _parts() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    x = np.arange(24.0).reshape(2, 3, 4)
    for axis in (0, 1, -1):
        places = np.array([1, 0, -1, 1])
        shape = list(x.shape)
        shape[axis] = 4
        yield Sample((x, places, rng.standard_normal(shape)), (("axis", axis), ("alpha", 2.0)))
    yield Sample((x, np.array([], int), x[:0]))
    yield Sample((x, np.array([[1, 0], [1, 1]]), rng.standard_normal((2, 2, 3, 4))))
    yield Sample((np.array([1, 2, 3]), np.array([2, 2]), np.array([10, 20])))


def _numpy_index_add(
    x: Any, indices: Any, updates: Any, *, axis: int = 0, alpha: float = 1
) -> Array:
    axis = axis % np.ndim(x)
    result = np.array(x, np.result_type(x, updates))
    where: Any = (*(slice(None),) * axis, np.asarray(indices, INT64))
    np.add.at(result, where, np.asarray(updates * result.dtype.type(alpha), result.dtype))
    return result


def _copies() -> Iterable[Sample]:
    for sample in _parts():
        yield Sample(sample.args, tuple((k, v) for k, v in sample.kwargs if k == "axis"))


def _numpy_index_copy(x: Any, indices: Any, updates: Any, *, axis: int = 0) -> Array:
    axis = axis % np.ndim(x)
    result = np.array(x, np.result_type(x, updates))
    lead: tuple[Any, ...] = (slice(None),) * axis
    count = np.ndim(indices)
    parts = np.moveaxis(np.asarray(updates), range(axis, axis + count), range(count))
    for at in np.ndindex(np.shape(indices)):
        result[*lead, np.asarray(indices)[at]] = parts[at]
    return result


@function(samples=_parts, reference=_numpy_index_add, section=SECTION)
def index_add(x: Any, indices: Any, updates: Any, *, axis: int = 0, alpha: float = 1) -> Tensor:
    """Return ``x`` with parts added: ``x[..., indices[i], ...] += alpha * updates[..., i, ...]``.

    The counterpart of :func:`take`, whose result ``updates`` are like. Parts of equal places add
    up; negative places count from the end, and one out of range raises an IndexError.
    """
    t, u, i, place = _parts_of("index_add", x, indices, updates, axis)
    scaled = u if alpha == 1 else u * constant(alpha, t.dtype)
    return apply(AddAt(place), t, scaled, i)


@function(samples=_copies, reference=_numpy_index_copy, section=SECTION)
def index_copy(x: Any, indices: Any, updates: Any, *, axis: int = 0) -> Tensor:
    """Return ``x`` with parts replaced: ``x[..., indices[i], ...] = updates[..., i, ...]``.

    Of parts for one place the last stays, and has the derivative; see :func:`index_add`.
    """
    t, u, i, place = _parts_of("index_copy", x, indices, updates, axis)
    return apply(PutAt(place), t, u, i)
