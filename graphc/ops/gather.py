"""Elements picked by integer arrays, and sums scattered to where they came from."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any, TypeAlias

import numpy as np

from graphc.convert import as_array, converted
from graphc.errors import DTypeError, IndexingError
from graphc.ir.op import (
    Access,
    Array,
    Emitter,
    Linear,
    Loops,
    Sample,
    function,
    register,
)
from graphc.ir.source import Constant, constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.code import HI, LO
from graphc.kernel.value import Element, Integer, Name, Value, least, most
from graphc.ops.batched import Case, batching
from graphc.ops.creation import iota
from graphc.ops.loops import nest, places
from graphc.ops.operands import as_tensor
from graphc.ops.shape import broadcast_to, moveaxis, ravel
from graphc.types import (
    INT64,
    AnyDim,
    Shape,
    TensorType,
    normalize_axis,
    shape_at,
    size_of,
)

SECTION = "Indexing"

LEAST_BYTES = 256
"""Of a part, from which on threads share out the places where parts add up."""


class Indexed(Linear):
    """Mixin of an op whose operands but the first hold places along ``axis`` and those behind.

    Negative places count from the end. All are checked before a parameter changes. One that the
    graph itself computes may be met before its check stops the step: kernels never leave the axis.
    """

    axis: int

    def indexed_lengths(self, *types: TensorType) -> Shape:
        """Return the length of the axis into which each of those operands points."""
        return types[0].shape[self.axis : self.axis + len(types) - 1]

    def counts_from_end(self) -> bool:
        """Tell whether a negative place counts from the end; else it is an error."""
        return True

    def index_bounds(self, *types: TensorType) -> tuple[tuple[int, AnyDim, AnyDim], ...]:
        lengths = enumerate(self.indexed_lengths(*types), 1)
        wrap = self.counts_from_end()
        return tuple((position, -n if wrap else 0, n) for position, n in lengths)


def wrapped(index: Array, length: int, axis: int, wrap: bool = True) -> Array:
    """Return non-negative places, or raise as NumPy does; without ``wrap`` if one is negative."""
    wrong = (index < (-length if wrap else 0)) | (index >= length)
    if wrong.any():
        bad = index[wrong].flat[0]
        raise IndexingError(f"index {bad} is out of bounds for axis {axis} with size {length}")
    return np.where(index < 0, index + length, index)


def as_lines(x: Array, first: int, count: int = 1) -> Array:
    """Return ``x`` in three axes: those before ``first``, ``count`` from there on, those behind.

    NumPy takes no index arrays of more than 32 axes, and does not say so.
    """
    shape, last = x.shape, first + count
    return x.reshape(prod(shape[:first]), prod(shape[first:last]), prod(shape[last:]))


def _flat(indices: Sequence[Array], shape: Sequence[int], axis: int) -> Array:
    """Return the places in row-major order that ``indices`` mean in the leading axes of ``shape``.

    Each is checked against its own axis, the first of which is number ``axis``.
    """
    places = np.zeros(indices[0].shape, INT64)
    for offset, (index, length) in enumerate(zip(indices, shape, strict=False)):
        places = places * length + wrapped(index, length, axis + offset)
    return places


def write_places(
    e: Emitter, indices: Sequence[Access], index: Sequence[Value], lengths: Sequence[Value],
    wrap: bool = True,
) -> tuple[Name, ...]:  # fmt: skip
    """Write the places inside their axes that ``indices`` mean and return them.

    One is -1 only where its axis is empty. With ``wrap`` negative ones count from the end.
    """
    names = [f"at{k}" for k in range(len(indices))] if len(indices) > 1 else ["at"]
    places = []
    for name, own, length in zip(names, indices, lengths, strict=False):
        at = e.let(name, own.at(*index).cast(INT64))
        if wrap:
            with e.when(at < 0):
                e.let(name, at + length)
        last = Integer(length.value - 1) if isinstance(length, Integer) else length - 1
        places.append(e.let(name, least(most(at, 0), last)))
    return tuple(places)


def inside(x: Access, at: Sequence[Value], axis: int) -> Value | None:
    """Return the condition that all places exist, or None if no axis can be empty."""
    lengths = zip(at, x.dims[axis:], strict=False)
    exist = [a >= 0 for a, n in lengths if not isinstance(n, int) or n == 0]
    return functools.reduce(operator.and_, exist) if exist else None


def read(
    e: Emitter, out: Element, x: Access, at: Sequence[Value], axis: int, index: Sequence[Value]
) -> None:
    """Write the element of ``x`` at ``index`` to ``out``, 0 if an indexed axis is empty."""
    exists = inside(x, at, axis)
    if exists is None:
        e.store(out, x.at(*index))
        return
    e.store(out, e.lit(0, out.dtype))
    with e.when(exists):
        e.store(out, x.at(*index))


Change: TypeAlias = Callable[[Emitter, Access, Sequence[Value], int, Sequence[Value], Value], None]
"""Writes what a value makes of an element at places along an axis and behind."""


def add(
    e: Emitter, out: Access, at: Sequence[Value], axis: int, index: Sequence[Value], value: Value
) -> None:
    """Write the addition of ``value`` to an element, none if an indexed axis is empty."""
    target = out.at(*index)
    _store(e, out, at, axis, target, target + value)


def put(
    e: Emitter, out: Access, at: Sequence[Value], axis: int, index: Sequence[Value], value: Value
) -> None:
    """Write ``value`` in the place of an element, nowhere if an indexed axis is empty."""
    _store(e, out, at, axis, out.at(*index), value)


def _store(
    e: Emitter, out: Access, at: Sequence[Value], axis: int, target: Element, value: Value
) -> None:
    exists = inside(out, at, axis)
    if exists is None:
        e.store(target, value)
        return
    with e.when(exists):
        e.store(target, value)


class Owner:
    """The loops of an op that changes the parts of ``out`` at places along ``axis`` and behind.

    Parts of different leading axes never meet, so that threads share these. Where there are none,
    they share out the places of the first axis: each meets all indices, in their order, and changes
    the parts that fall to its own places. The bits are the same for any number of threads. It must
    be less work to pass by an index than to change a part.
    """

    def __init__(self, e: Emitter, out: Access, axis: int, count: int) -> None:
        self.e, self.out, self.axis = e, out, axis
        self.lead = min(axis, 1)
        part = size_of(out.dims[count:]) * out.dtype.itemsize
        large = not isinstance(part, int) or part >= LEAST_BYTES
        self.is_divided = not self.lead and large

    @contextmanager
    def lines(self, fill: bool = False) -> Iterator[None]:
        """Open the loop that threads share, if it is one; ``fill`` writes zeros before."""
        e, out = self.e, self.out
        own = places(out)
        own = [Name("row"), *own[1:]] if self.is_divided else own
        with nest(e, out, range(self.lead), parallel=True):
            if fill:
                with ExitStack() as filling:
                    if self.is_divided:
                        filling.enter_context(e.parallel(own[0].name, out.dims[0]))
                    with nest(e, out, range(self.lead or self.is_divided, len(own))):
                        e.store(out.at(*own), e.lit(0, out.dtype))
            elif self.is_divided:
                e.share(own[0].name, out.dims[0])
            yield

    def change(
        self, updates: Access, *indices: Access, change: Change, skips: bool = False
    ) -> None:
        """Write the loops over all indices; with ``skips`` a negative one is none."""
        e, out, axis = self.e, self.out, self.axis
        names, split = places(updates), axis + len(indices[0].shape)
        with nest(e, updates, range(self.lead, split)), ExitStack() as mine:
            at = write_places(e, indices, names[axis:split], out.shape[axis:], wrap=not skips)
            if skips:
                own = indices[0].at(*names[axis:split])
                mine.enter_context(e.when(own >= 0))
            if self.is_divided:
                at = (e.let("row", at[0]), *at[1:])
                mine.enter_context(e.when((at[0] >= LO) & (at[0] < HI)))
            with nest(e, updates, range(split, len(names))):
                place = (*names[:axis], *at, *names[split:])
                change(e, out, at, axis, place, updates.at(*names).load(out.dtype))


@register
class Take(Indexed, Loops):
    """``x[..., i, j, ...]``: the parts of ``x`` at places ``i, j`` of ``axis`` and those behind.

    The indices, one operand for each axis, have one shape.
    """

    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        x, *indices = types
        behind = x.shape[self.axis + len(indices) :]
        return x.with_shape((*x.shape[: self.axis], *indices[0].shape, *behind))

    def numpy(self, *arrays: Array) -> Array:
        x, *indices = arrays
        lines = as_lines(x, self.axis, len(indices))
        taken = np.take(lines, _flat(indices, x.shape[self.axis :], self.axis), axis=1)
        shape = self.infer(*(TensorType(a.dtype, a.shape) for a in arrays)).shape
        return taken.reshape(shape_at(shape, 0))

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        x, *indices = ins
        names = places(out)
        split = self.axis + len(indices[0].shape)
        with nest(e, out, range(split), parallel=True):
            at = write_places(e, indices, names[self.axis : split], x.shape[self.axis :])
            with nest(e, out, range(split, len(names))):
                place = (*names[: self.axis], *at, *names[split:])
                read(e, out.at(*names), x, at, self.axis, place)

    def read(self, out: TensorType, *types: TensorType) -> AnyDim:
        return sum((t.nbytes for t in types[1:]), start=out.nbytes)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return 0

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, *indices = inputs
        back = apply(ScatterAdd(self.axis, x.type.shape), g, *indices)
        return back, *(None for _ in indices)


@register
class ScatterAdd(Indexed, Loops):
    """Zeros of ``shape`` with each part of the operand added at its place along ``axis``.

    The transpose of :class:`Take`: equal indices add up, in their order.
    """

    axis: int
    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(self.shape)

    def indexed_lengths(self, *types: TensorType) -> Shape:
        return self.shape[self.axis : self.axis + len(types) - 1]

    def numpy(self, *arrays: Array) -> Array:
        g, *indices = arrays
        result = np.zeros(shape_at(self.shape, 0), g.dtype)
        places = _flat(indices, result.shape[self.axis :], self.axis).reshape(-1)
        where: tuple[Any, ...] = (slice(None), places)
        lines = as_lines(result, self.axis, len(indices))
        np.add.at(lines, where, as_lines(g, self.axis, indices[0].ndim))
        return result

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        owner = Owner(e, out, self.axis, len(ins) - 1)
        with owner.lines(fill=True):
            owner.change(*ins, change=add)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        _, *indices = inputs
        return apply(Take(self.axis), g, *indices), *(None for _ in indices)


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


def check_bounds(indices: Tensor, length: AnyDim, axis: int) -> None:
    """Raise :class:`IndexingError` if a constant index is surely outside the axis."""
    if isinstance(length, int) and isinstance(indices.op, Constant):
        wrapped(indices.op.value.array, length, axis)


def _takes() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for axis in (0, 1, -1):
        for index in ([1, 0, -1, 1], [[1], [-2]], 1, []):
            yield Sample((x, np.array(index, int)), (("axis", axis),))
    yield Sample((x, np.array([3, -24], np.int32)))


@batching(Take)
def _taken(case: Case) -> Tensor:
    op, (x, *indices) = case.node.op, case.operands
    assert isinstance(op, Take)
    if not any(case.has[1:]):
        return apply(Take(op.axis + 1), x, *indices)
    axis, many, rank = op.axis, len(indices), case.node.inputs[1].ndim
    listed = _of_samples(case, 1)
    if not case.has[0]:
        found = apply(Take(axis), x, *listed[1:])
        return moveaxis(found, axis, 0)
    # Samples are one more axis of places, in front of the others.
    places = range(axis + 1, axis + 1 + many)
    found = apply(Take(0), moveaxis(x, tuple(places), tuple(range(1, 1 + many))), *listed)
    return moveaxis(found, tuple(range(1, 1 + rank)), tuple(range(axis + 1, axis + 1 + rank)))


@batching(ScatterAdd)
def _scattered(case: Case) -> Tensor:
    op, (g, *indices) = case.node.op, case.operands
    assert isinstance(op, ScatterAdd)
    shape = (case.size, *op.shape)
    if not any(case.has[1:]):
        return apply(ScatterAdd(op.axis + 1, shape), g, *indices)
    axis, many, rank = op.axis, len(indices), case.node.inputs[1].ndim
    listed = _of_samples(case, 1)
    ahead = range(axis + 1, axis + 1 + rank)
    g = moveaxis(case.whole(0), tuple(ahead), tuple(range(1, 1 + rank)))
    own = op.shape[axis : axis + many]
    whole = (case.size, *own, *op.shape[:axis], *op.shape[axis + many :])
    total = apply(ScatterAdd(0, whole), g, *listed)
    return moveaxis(total, tuple(range(1, 1 + many)), tuple(range(axis + 1, axis + 1 + many)))


def _of_samples(case: Case, first: int) -> list[Tensor]:
    """Return the number of each sample, and its indices: those from operand ``first`` on."""
    indices = [case.whole(k) for k in range(first, len(case.operands))]
    rest = indices[0].ndim - 1
    numbers = iota((case.size, *(1,) * rest), 0, indices[0].dtype)
    return [broadcast_to(numbers, indices[0].type.shape), *indices]


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
    check_bounds(i, t.type.shape[place], place)
    return apply(Take(place), t, i)
