"""``x[...]``: integers, slices, None, ``...`` and one integer array."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.errors import DTypeError, IndexingError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor, apply
from graphc.ops.gather import as_indices, take
from graphc.ops.operands import as_tensor
from graphc.ops.shape import moveaxis, reshape
from graphc.ops.slices import Slice
from graphc.types import AnyDim, dim_ceildiv, dim_max, dim_min


@dataclass
class _Window:
    """What a key selects, axis by axis of the operand and of the result."""

    starts: list[AnyDim] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    lengths: list[AnyDim] = field(default_factory=list)
    shape: list[AnyDim] = field(default_factory=list)
    indices: Tensor | None = None
    place: int = 0
    """Axis of the result that ``indices`` pick from."""

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
    ):  # fmt: skip
        yield Sample((x, key))
    yield Sample((x[:0], (slice(None), slice(1, 3))))
    yield Sample((np.array(2.0), ()))
    yield Sample((np.arange(4), slice(None, None, -1)))


def _numpy_getitem(x: Array, key: Any) -> Any:
    return x[key]


@function(samples=_samples, reference=_numpy_getitem, section="Indexing")
def getitem(x: Any, key: Any) -> Tensor:
    """Return ``x[key]`` as NumPy does, for integers, slices, ``None``, ``...`` and one array.

    The array holds integers. Slices of the batch axis give what is there; an integer there
    needs a batch that long when the function is called.
    """
    t = as_tensor(x)
    parts = _spelled_out(key if isinstance(key, tuple) else (key,), t.ndim)
    window = _window(t, parts)
    out = t
    identity = all(s == 0 for s in window.starts) and all(k == 1 for k in window.steps)
    if not identity or tuple(window.lengths) != t.type.shape:
        slice_ = Slice(tuple(window.starts), tuple(window.steps), tuple(window.lengths))
        out = apply(slice_, t)
    out = reshape(out, window.shape)
    if window.indices is None:
        return out
    out = take(out, window.indices, axis=window.place)
    if not _apart(parts) or not window.place:
        return out
    # NumPy: an array and integers that do not stand together put the array's axes in front.
    count = window.indices.ndim
    return moveaxis(out, range(window.place, window.place + count), range(count))


def _is_index(part: Any) -> bool:
    return not (part is None or part is Ellipsis or isinstance(part, slice))


def _is_integer(part: Any) -> bool:
    return isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool_))


def _apart(parts: tuple[Any, ...]) -> bool:
    """Tell whether slices or None stand between the integers and arrays of a key."""
    places = [n for n, part in enumerate(parts) if _is_index(part)]
    return places[-1] - places[0] >= len(places)


def _spelled_out(key: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """Return ``key`` with the ellipsis, and what is missing at the end, as full slices."""
    dots = [n for n, part in enumerate(key) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexingError("an index can only have a single ellipsis ('...')")
    used = sum(part is not None and part is not Ellipsis for part in key)
    if used > ndim:
        raise IndexingError(
            f"too many indices for array: array is {ndim}-dimensional, but {used} were indexed"
        )
    place = dots[0] if dots else len(key)
    rest = (slice(None),) * (ndim - used)
    return (*key[:place], *rest, *key[place + 1 :])


def _window(t: Tensor, parts: tuple[Any, ...]) -> _Window:
    window = _Window()
    axis = 0
    for part in parts:
        if part is None:
            window.shape.append(1)
            continue
        dim = t.type.shape[axis]
        if isinstance(part, slice):
            start, step, length = _range(part, dim)
            window.add(start, step, length)
            window.shape.append(length)
        elif _is_integer(part):
            window.add(_place(int(part), dim, axis), 1, 1)
        else:
            if window.indices is not None:
                raise IndexingError(
                    "only one array can index at a time; use gx.take_along_axis, or index twice"
                )
            window.indices = _array(part)
            window.place = len(window.shape)
            window.add(0, 1, dim)
            window.shape.append(dim)
        axis += 1
    return window


def _array(part: Any) -> Tensor:
    if isinstance(part, (list, np.ndarray, np.generic, Tensor, bool)):
        return as_indices(part)
    raise IndexingError(
        "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer "
        f"arrays are valid indices, not {type(part).__name__}"
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
        raise ShapeError("slice step cannot be zero")
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
