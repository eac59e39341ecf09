"""``x[...]``: integers, slices, None, ``...``, integer arrays and masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.convert import as_array
from graphc.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.source import Constant, constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.gather import Take, as_indices, check_bounds
from graphc.ops.operands import as_tensor
from graphc.ops.shape import broadcast_to, moveaxis, reshape
from graphc.ops.slices import Slice
from graphc.types import (
    INT64,
    AnyDim,
    broadcast_shapes,
    dim_ceildiv,
    dim_max,
    dim_min,
    show_dim,
    show_shape,
)


@dataclass(frozen=True)
class _Places:
    """An array of places in one axis, of which a mask knows the ``length``.

    With ``new`` they point into an axis of length 1 that is put in, as ``x[True]`` does.
    """

    indices: Tensor
    length: int | None = None
    new: bool = False


@dataclass
class _Window:
    """What a key selects, axis by axis of the operand and of the result."""

    starts: list[AnyDim] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    lengths: list[AnyDim] = field(default_factory=list)
    shape: list[AnyDim] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)
    picked: list[int] = field(default_factory=list)
    """Axes of the result that ``indices`` pick from, one each."""

    def add(self, start: AnyDim, step: int, length: AnyDim) -> None:
        self.starts.append(start)
        self.steps.append(step)
        self.lengths.append(length)


def _samples() -> Iterable[Sample]:
    x = np.arange(60.0).reshape(3, 4, 5)
    for key in (
        0, -1, (1, 2), (1, -2, 3), ..., (..., 0), (0, ...), None, (None, ..., None), (1, None, 2),
        slice(None), slice(1, None), slice(-2, None), slice(None, 2), slice(None, -1), slice(0, 9),
        slice(None, None, 2), slice(None, None, -1), slice(2, None, -2), slice(5, 1), slice(-9, 2),
        (slice(None), slice(-1, 0, -1)), (slice(None), slice(3, None, -3), slice(1, 4, 2)),
        (slice(None), 1), (slice(0, 0), 2), (), [2, 0, -1], (slice(None), [1, 1]), (0, [1, 3]),
        ([0, 2], slice(1, 3)), (..., [4, 0, 4]), (0, slice(None), [1, 2]), ([[0], [1]], ..., 2),
        ([1, 2], None, 0), (slice(None, None, -1), [0], None), [],
        ([0, 2], [1, -1]), ([0, 2], slice(None), [1, -1]), ([[0], [2]], [1, -1, 1]),
        (0, [1, 2], [0]), (slice(None), [0, 2], [1, -1]), ([0, 0], [1, 1], [2, 2]),
        (None, [0], ..., None, [3, 1]),
        ([0, 1], ..., [1, 0]), ([0, 1], 2, [1, 0]), ([2], None, [1, 0], slice(4, 0, -2)), ([], []),
        [True, False, True], (slice(None), [True, False, False, True], [1]), (..., [False] * 5),
        ([True, False, True], slice(1, 3), [0, 4]), True, (False, 0),
        (slice(1), None, True, [1, 2]),
        [[True, False, False, True], [False] * 4, [False, True, False, False]],
    ):  # fmt: skip
        yield Sample((x, key))
    rows, columns = np.array([[0], [-1]]), np.array([3, -4, 3], np.int32)
    yield from (Sample((x, arrays)) for arrays in ((rows, columns), (0, rows, columns)))
    yield from (Sample((x, (rows, part, columns))) for part in (slice(None), None, 2))
    yield Sample((x[:0], (slice(None), slice(1, 3))))
    yield Sample((np.array(2.0), ()))
    yield Sample((np.arange(4), slice(None, None, -1)))


def _numpy_getitem(x: Array, key: Any) -> Any:
    return x[key]


@function(samples=_samples, reference=_numpy_getitem, section="Indexing")
def getitem(x: Any, key: Any) -> Tensor:
    """Return ``x[key]`` as NumPy does: integers, slices, ``None``, ``...``, arrays, known masks.

    Arrays hold integers and broadcast against each other; each is checked against its own axis.
    A mask is an array of booleans known now. Slices of the batch axis give what is there; an
    integer there needs a batch that long when the function is called.
    """
    t = as_tensor(x)
    given = tuple(p for part in (key if isinstance(key, tuple) else (key,)) for p in _parts(part))
    parts = _spelled_out(given, t.ndim)
    window = _window(t, parts)
    out = t
    identity = all(s == 0 for s in window.starts) and all(k == 1 for k in window.steps)
    if not identity or tuple(window.lengths) != t.type.shape:
        slice_ = Slice(tuple(window.starts), tuple(window.steps), tuple(window.lengths))
        out = apply(slice_, t)
    out = reshape(out, window.shape)
    if not window.indices:
        return out
    # NumPy: arrays and integers that do not stand together put the arrays' axes in front.
    place = 0 if _apart(given) else window.picked[0]
    out = moveaxis(out, window.picked, range(place, place + len(window.picked)))
    return apply(Take(place), out, *_together(window.indices))


def _together(indices: list[Tensor]) -> list[Tensor]:
    """Return index arrays repeated to one shape."""
    try:
        shape = broadcast_shapes(*[i.type.shape for i in indices])
    except ShapeError:
        shown = " ".join(show_shape(i.type.shape) for i in indices)
        raise IndexingError(
            f"shape mismatch: indexing arrays could not be broadcast together with shapes {shown}"
        ) from None
    return [broadcast_to(i, shape) for i in indices]


def _parts(part: Any) -> tuple[Any, ...]:
    """Return a part of a key with arrays as places, and a mask as one array for each axis."""
    if part is None or part is Ellipsis or isinstance(part, slice) or _is_integer(part):
        return (part,)
    if not isinstance(part, (list, np.ndarray, np.generic, Tensor, bool)):
        raise IndexingError(
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or "
            f"boolean arrays are valid indices, not {type(part).__name__}"
        )
    if not isinstance(part, Tensor):
        mask = as_array(part)
    elif isinstance(part.op, Constant):
        mask = part.op.value.array
    else:
        return (_Places(as_indices(part)),)
    if mask.dtype.kind != "b":
        return (_Places(as_indices(part)),)
    if not mask.ndim:
        return (_Places(constant(np.zeros(int(mask), INT64)), new=True),)
    places = zip(mask.nonzero(), mask.shape, strict=True)
    return tuple(_Places(constant(i), length) for i, length in places)


def _is_integer(part: Any) -> bool:
    return isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool_))


def _apart(parts: tuple[Any, ...]) -> bool:
    """Tell whether slices, None or ``...`` stand between the integers and arrays of a key."""
    places = [n for n, p in enumerate(parts) if isinstance(p, _Places) or _is_integer(p)]
    return places[-1] - places[0] >= len(places)


def _spelled_out(key: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """Return ``key`` with the ellipsis, and what is missing at the end, as full slices."""
    dots = [n for n, part in enumerate(key) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexingError("an index can only have a single ellipsis ('...')")
    used = sum(_takes_axis(part) for part in key)
    if used > ndim:
        raise IndexingError(
            f"too many indices for array: array is {ndim}-dimensional, but {used} were indexed"
        )
    place = dots[0] if dots else len(key)
    rest = (slice(None),) * (ndim - used)
    return (*key[:place], *rest, *key[place + 1 :])


def _takes_axis(part: Any) -> bool:
    """Tell whether a part of a key stands for an axis of the operand."""
    return not (part is None or part is Ellipsis or (isinstance(part, _Places) and part.new))


def _window(t: Tensor, parts: tuple[Any, ...]) -> _Window:
    window = _Window()
    axis = 0
    for part in parts:
        if not _takes_axis(part):
            if part is not None:
                window.indices.append(part.indices)
                window.picked.append(len(window.shape))
            window.shape.append(1)
            continue
        dim = t.type.shape[axis]
        if isinstance(part, slice):
            start, step, length = _range(part, dim)
            window.add(start, step, length)
            window.shape.append(length)
        elif isinstance(part, _Places):
            _check(part, dim, axis)
            window.indices.append(part.indices)
            window.picked.append(len(window.shape))
            window.add(0, 1, dim)
            window.shape.append(dim)
        else:
            window.add(_place(int(part), dim, axis), 1, 1)
        axis += 1
    return window


def _check(places: _Places, dim: AnyDim, axis: int) -> None:
    """Raise :class:`IndexingError` where places known now, or a mask, do not fit their axis."""
    if places.length is None:
        check_bounds(places.indices, dim, axis)
    elif places.length != dim:
        raise IndexingError(
            f"boolean index did not match indexed array along axis {axis}; size of axis is "
            f"{show_dim(dim)} but size of corresponding boolean axis is {places.length}"
        )


def _place(index: int, dim: AnyDim, axis: int) -> AnyDim:
    """Return the place of an integer index, counted from the front."""
    if isinstance(dim, int) and not -dim <= index < dim:
        raise IndexingError(f"index {index} is out of bounds for axis {axis} with size {dim}")
    return index if index >= 0 else dim + index


def _bound(value: Any) -> int | None:
    if value is None or _is_integer(value):
        return value if value is None else int(value)
    raise DTypeError("slice indices must be integers or None")


def _range(part: slice, dim: AnyDim) -> tuple[AnyDim, int, AnyDim]:
    """Return first place, step and length of a slice of an axis of length ``dim``.

    Where the length is 0 the first place may lie outside.
    """
    start, stop, step = _bound(part.start), _bound(part.stop), _bound(part.step)
    step = 1 if step is None else step
    if step == 0:
        raise ArgumentError("slice step cannot be zero")
    if isinstance(dim, int):
        places = range(*slice(start, stop, step).indices(dim))
        return places.start, step, len(places)
    if step < 0:
        return _backward(start, stop, step, dim)
    first = dim_max(dim + start, 0) if start is not None and start < 0 else start or 0
    if stop is None:
        rest = dim_min(dim, -start) if start is not None and start < 0 else dim - first
        return first, step, dim_ceildiv(dim_max(rest, 0), step)
    last = dim_min(dim, stop) if stop >= 0 else dim + stop
    return first, step, dim_ceildiv(dim_max(last - first, 0), step)


def _backward(
    start: int | None, stop: int | None, step: int, dim: AnyDim
) -> tuple[AnyDim, int, AnyDim]:
    if start is None:
        first = dim - 1
    else:
        first = dim_min(dim - 1, start) if start >= 0 else dim + start
    last: AnyDim = -1
    if stop is not None:
        last = stop if stop >= 0 else dim_max(dim + stop, -1)
    return first, step, dim_ceildiv(dim_max(first - last, 0), -step)
