"""Joining, splitting, shifting and padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir.layout import Layout
from graphc.ir.op import Array, Assembly, Sample, function, register
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import grown
from graphc.ops.creation import extent, iota, zeros_like
from graphc.ops.gather import take
from graphc.ops.operands import as_tensor, common
from graphc.ops.shape import expand_dims, ravel, reshape, squeeze
from graphc.ops.slices import Embed, part
from graphc.types import (
    INT64,
    AnyDim,
    TensorType,
    normalize_axis,
    show_dim,
    show_shape,
)

SECTION = "Joining and splitting"


@register
@grown()
class Concat(Assembly):
    """The operands one after another along ``axis``."""

    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        first = types[0]
        for number, t in enumerate(types):
            if t.ndim != first.ndim:
                raise ShapeError(
                    "all the input arrays must have same number of dimensions, but the array at "
                    f"index 0 has {first.ndim} dimension(s) and the array at index {number} has "
                    f"{t.ndim} dimension(s)"
                )
            for axis, (a, b) in enumerate(zip(first.shape, t.shape, strict=True)):
                if axis != self.axis and a != b:
                    raise ShapeError(
                        "all the input array dimensions except for the concatenation axis must "
                        f"match exactly, but along dimension {axis}, the array at index 0 has "
                        f"size {show_dim(a)} and the array at index {number} has size {show_dim(b)}"
                    )
        shape = list(first.shape)
        for t in types[1:]:
            shape[self.axis] = shape[self.axis] + t.shape[self.axis]
        return first.with_shape(tuple(shape))

    def numpy(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, axis=self.axis)

    def fill(self) -> float | int | None:
        return None

    def regions(self, out: TensorType, *types: TensorType) -> Sequence[Layout]:
        whole = Layout.contiguous(out.shape)
        stride = whole.strides[self.axis]
        return [Layout(start * stride, whole.strides) for start in self._starts(types)]

    def _starts(self, types: Iterable[TensorType]) -> list[AnyDim]:
        """Return the place along the axis at which each operand begins."""
        starts: list[AnyDim] = [0]
        for t in types:
            starts.append(starts[-1] + t.shape[self.axis])
        return starts[:-1]

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        starts = self._starts(x.type for x in inputs)
        return [
            part(g, self.axis, start, x.type.shape[self.axis])
            for start, x in zip(starts, inputs, strict=True)
        ]

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        if all(t is None for t in tangents):
            return None
        pairs = zip(tangents, inputs, strict=True)
        return apply(self, *[zeros_like(x) if t is None else t for t, x in pairs])


def _concats() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    for axis in (0, -1):
        yield Sample(([x, x + 1],), (("axis", axis),))
        yield Sample(([x],), (("axis", axis),))
    yield Sample(([x, x[:1], x[:0]],))
    yield Sample(([x[:, :1], x],), (("axis", 1),))
    yield Sample(([x, x[0]],), (("axis", None),))
    yield Sample(([x, np.arange(4).reshape(1, 4)],))


@function(samples=_concats, reference=np.concatenate, section=SECTION)
def concat(arrays: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Return ``arrays`` joined along an existing ``axis`` (None: flattened first)."""
    ts = _operands("concat", arrays)
    if axis is None:
        ts, axis = tuple(ravel(t) for t in ts), 0
    if not ts[0].ndim:
        raise ShapeError("zero-dimensional arrays cannot be concatenated")
    place = normalize_axis(axis, ts[0].ndim)
    return ts[0] if len(ts) == 1 else apply(Concat(place), *ts)


def _operands(what: str, arrays: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return a sequence of arrays as tensors of one data type."""
    if isinstance(arrays, Tensor):
        raise DTypeError("expected a sequence of tensors, got one Tensor; use [a, b]")
    if not len(arrays):
        raise ArgumentError(f"need at least one array to {what}")
    return common(what, *arrays)


def _stacks() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    yield from (Sample(([x, x + 1],), (("axis", axis),)) for axis in (0, 1, -1))
    yield Sample(([x],))
    yield Sample(([x[0, 0], x[0, 1]],))


@function(samples=_stacks, reference=np.stack, section=SECTION)
def stack(arrays: Sequence[Any], axis: int = 0) -> Tensor:
    """Return ``arrays`` of one shape joined along a new ``axis``."""
    ts = _operands("stack", arrays)
    if any(t.type.shape != ts[0].type.shape for t in ts):
        shapes = " ".join(show_shape(t.type.shape) for t in ts)
        raise ShapeError(f"all input arrays must have the same shape, got {shapes}")
    return concat([expand_dims(t, axis) for t in ts], normalize_axis(axis, ts[0].ndim + 1))


def _unstacks() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    yield from (Sample((x,), (("axis", axis),)) for axis in (0, 1, -2))


def _unstacked(x: Array, axis: int = 0) -> tuple[Array, ...]:
    return tuple(np.moveaxis(x, axis, 0))


@function(samples=_unstacks, reference=_unstacked, section=SECTION)
def unstack(x: Any, *, axis: int = 0) -> tuple[Tensor, ...]:
    """Return the parts of ``x`` along ``axis``, which they lose."""
    t = as_tensor(x)
    place = normalize_axis(axis, t.ndim)
    size = _known(t, place, "unstack")
    return tuple(squeeze(part(t, place, i, 1), place) for i in range(size))


def _known(t: Tensor, axis: int, what: str) -> int:
    """Return the length of an axis that must not depend on the batch."""
    size = t.type.shape[axis]
    if not isinstance(size, int):
        raise ShapeError(f"cannot {what} along axis {axis}: its length depends on the batch")
    return size


def _splits() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(6, 4)
    for sections in (1, 2, 3, [1, 4], [0, 2, 6], [2, 9], []):
        yield Sample((x, sections))
    yield Sample((x, 2), (("axis", -1),))


@function(samples=_splits, reference=np.split, section=SECTION)
def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Return ``x`` cut along ``axis`` into equal sections, or before the given indices."""
    t = as_tensor(x)
    place = normalize_axis(axis, t.ndim)
    size = _known(t, place, "split")
    if isinstance(indices_or_sections, (int, np.integer)):
        sections = int(indices_or_sections)
        if sections <= 0:
            raise ArgumentError("number sections must be larger than 0.")
        if size % sections:
            raise ShapeError("array split does not result in an equal division")
        return _cut(t, place, [i * (size // sections) for i in range(sections + 1)])
    cuts = [slice(None, int(i)).indices(size)[1] for i in indices_or_sections]
    return _cut(t, place, [0, *cuts, size])


def _array_splits() -> Iterable[Sample]:
    x = np.arange(28.0).reshape(7, 4)
    yield from (Sample((x, sections)) for sections in (1, 3, 9, [2, 3]))


@function(samples=_array_splits, reference=np.array_split, section=SECTION)
def array_split(
    x: Any, indices_or_sections: int | Sequence[int], axis: int = 0
) -> tuple[Tensor, ...]:
    """Return ``x`` cut along ``axis``; sections may differ in length by one."""
    if not isinstance(indices_or_sections, (int, np.integer)):
        return split(x, indices_or_sections, axis)
    t = as_tensor(x)
    place = normalize_axis(axis, t.ndim)
    size, sections = _known(t, place, "split"), int(indices_or_sections)
    if sections <= 0:
        raise ArgumentError("number sections must be larger than 0.")
    each, longer = divmod(size, sections)
    return _cut(t, place, [i * each + min(i, longer) for i in range(sections + 1)])


def _cut(t: Tensor, axis: int, cuts: Iterable[int]) -> tuple[Tensor, ...]:
    return tuple(part(t, axis, a, max(b - a, 0)) for a, b in pairwise(cuts))


def _rolls() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    for shift, axis in ((1, None), (1, 0), (-1, 1), (5, -1), ((1, 2), (0, 1)), (1, (0, 1)), (0, 0)):
        yield Sample((x, shift), (("axis", axis),))
    yield Sample((x[:0], 1), (("axis", 0),))


@function(samples=_rolls, reference=np.roll, section=SECTION)
def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """Return ``x`` with its elements moved by ``shift`` along ``axis``, round the end.

    Without ``axis`` the elements move in row-major order.
    """
    t = as_tensor(x)
    if axis is None:
        return reshape(roll(ravel(t), shift, 0), t.type.shape)
    for by, a in np.broadcast(shift, axis):
        t = _roll(t, int(by), normalize_axis(int(a), t.ndim))
    return t


def _roll(t: Tensor, shift: int, axis: int) -> Tensor:
    size = t.type.shape[axis]
    if not isinstance(size, int):
        index = (iota((size,), 0, INT64) - shift) % extent(size, INT64)
        return take(t, index, axis=axis)
    cut = -shift % size if size else 0
    if cut == 0:
        return t
    return concat([part(t, axis, cut, size - cut), part(t, axis, 0, cut)], axis)


def _pads() -> Iterable[Sample]:
    x = np.arange(12.0).reshape(3, 4)
    for width in (0, 2, (1, 2), ((1, 2), (0, 3)), ((1,), (2,))):
        yield Sample((x, width))
    yield Sample((x, 1), (("constant_values", 5.0),))
    yield Sample((x[:0], 1))
    for mode in ("edge", "reflect", "symmetric", "wrap"):
        yield Sample((x, ((1, 2), (5, 0))), (("mode", mode),))


@function(samples=_pads, reference=np.pad, section=SECTION)
def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: float = 0) -> Tensor:
    """Return ``x`` with elements put before and after each axis.

    ``pad_width`` is an integer, a pair ``(before, after)`` for all axes, or one pair an axis;
    ``mode`` is "constant", "edge", "reflect", "symmetric" or "wrap", as in NumPy.
    """
    t = as_tensor(x)
    try:
        widths = np.broadcast_to(np.asarray(pad_width), (t.ndim, 2)).tolist()
    except ValueError:
        raise ShapeError(f"pad_width {pad_width!r} does not fit {t.ndim} axes") from None
    if any(not isinstance(w, int) or w < 0 for pair in widths for w in pair):
        raise ArgumentError("index can't contain negative values, and must be integers")
    if mode == "constant":
        if not any(a or b for a, b in widths):
            return t
        shape = tuple(a + d + b for (a, b), d in zip(widths, t.type.shape, strict=True))
        value = t.dtype.type(constant_values).item()
        return apply(Embed(tuple(a for a, _ in widths), (1,) * t.ndim, shape, value), t)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ArgumentError(f"mode '{mode}' is not supported")
    for axis, pair in enumerate(widths):
        if any(pair):
            size = _known(t, axis, f"pad by {mode}")
            if not size:
                raise ShapeError(
                    f"can't extend empty axis {axis} using modes other than 'constant'"
                )
            places = np.pad(np.arange(size), pair, mode)  # type: ignore[call-overload]
            t = take(t, constant(places), axis=axis)
    return t
